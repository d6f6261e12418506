import asyncio

from jobqueue.apps.metrics_peers import fetch_pages, merge, only_tenant
from jobqueue.telemetry.events import JobsCompleted, JobsSubmitted, WorkersMeasured
from jobqueue.telemetry.metrics import Metrics


def test_series_of_several_processes_are_added_up_under_their_own_names() -> None:
    api, worker = Metrics(), Metrics()
    api.count_submitted(JobsSubmitted("a", "low", 2))
    worker.count_completed(JobsCompleted("a", "succeeded", 3, (0.5, 0.5, 100.0)))
    api.count_completed(JobsCompleted("a", "succeeded", 1, (0.5,)))
    worker.whole.set_workers(WorkersMeasured({"running": 2}))
    worker.watch_leader(lambda: True)
    lines = merge(api.render().decode(), [worker.render().decode(), ""]).splitlines()
    assert 'jobs_submitted_total{priority="low",tenant_id="a"} 2.0' in lines
    assert 'jobs_completed_total{status="succeeded",tenant_id="a"} 4.0' in lines
    assert 'job_duration_seconds_bucket{le="+Inf",status="succeeded",tenant_id="a"} 4.0' in lines
    assert 'job_duration_seconds_count{status="succeeded",tenant_id="a"} 4.0' in lines
    assert 'workers{state="running"} 2.0' in lines
    assert len([line for line in lines if line.startswith("process_start_time_seconds ")]) == 1
    assert len([line for line in lines if line.startswith("# TYPE jobs_completed_total ")]) == 1


def test_families_of_the_whole_queue_are_taken_from_our_own_page_alone() -> None:
    api, reaper = Metrics(), Metrics()
    for metrics in (api, reaper):
        metrics.whole.set_workers(WorkersMeasured({"running": 2}))
    pages = [reaper.render(is_whole=True).decode()]
    lines = merge(api.render(is_whole=True).decode(), pages, only_own=api.whole.names()).splitlines()
    assert 'workers{state="running"} 2.0' in lines


def test_page_of_one_tenant_has_its_series_and_no_other() -> None:
    metrics = Metrics()
    for tenant in ("a", "b"):
        metrics.count_submitted(JobsSubmitted(tenant, "low", 2))
    page = only_tenant(metrics.render().decode(), "a")
    assert 'jobs_submitted_total{priority="low",tenant_id="a"} 2.0' in page.splitlines()
    assert '"b"' not in page
    assert only_tenant(page, "nobody") == ""


async def test_peer_that_is_not_there_is_left_out() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nup 1\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        pages = await fetch_pages([("127.0.0.1", port), ("127.0.0.1", 1), ("no-such-host.invalid", 9090)])
    assert pages == ["up 1\n"]
