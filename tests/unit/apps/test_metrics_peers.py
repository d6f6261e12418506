from jobqueue.apps.metrics_peers import merge, read_ports
from jobqueue.telemetry.events import JobsCompleted, JobsSubmitted, WorkersMeasured
from jobqueue.telemetry.metrics import Metrics


def test_ports_are_read() -> None:
    assert read_ports("") == []
    assert read_ports("1,2,3,") == [1, 2, 3]


def test_series_of_several_processes_are_added_up_under_their_own_names() -> None:
    api, worker = Metrics(), Metrics()
    api.count_submitted(JobsSubmitted("a", "low", 2))
    worker.count_completed(JobsCompleted("a", "succeeded", 3, (0.5, 0.5, 100.0)))
    api.count_completed(JobsCompleted("a", "succeeded", 1, (0.5,)))
    worker.set_workers(WorkersMeasured({"running": 2}))
    lines = merge(api.render().decode(), [worker.render().decode(), ""]).splitlines()
    assert 'jobs_submitted_total{priority="low",tenant_id="a"} 2.0' in lines
    assert 'jobs_completed_total{status="succeeded",tenant_id="a"} 4.0' in lines
    assert 'job_duration_seconds_bucket{le="+Inf",status="succeeded",tenant_id="a"} 4.0' in lines
    assert 'job_duration_seconds_count{status="succeeded",tenant_id="a"} 4.0' in lines
    assert 'workers{state="running"} 2.0' in lines
    assert len([line for line in lines if line.startswith("process_start_time_seconds ")]) == 1
    assert len([line for line in lines if line.startswith("# TYPE jobs_completed_total ")]) == 1
