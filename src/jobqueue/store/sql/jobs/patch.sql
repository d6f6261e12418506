-- Change a waiting job.
-- edges:   queued -> queued|scheduled, scheduled -> scheduled|queued, failed -> failed|queued, blocked -> blocked
-- locks:   the job's row -> one place row
SELECT verdict, status
FROM jobqueue.patch_v1(@tenant_id, @job_id, @priority, @attempts_max, @is_timed, @run_at)
