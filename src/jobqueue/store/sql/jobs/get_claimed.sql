-- Read jobs that were claimed for their tenant a moment ago, as users see them, newest first.
-- params:  @tenant_cap int: the settings' limit of running jobs, 0 none; @worker_alive_s: a worker silent for longer is gone
-- tenant:  all, as the claim that names the jobs; a worker that waits gets its job two round trips sooner than through the wall
SELECT job_id, queue, job_type, status, priority, attempt, max_attempts, progress, progress_message, waiting_reason, concurrency_key,
  tags, metadata, idempotency_key, correlation_id, traceparent, scheduled_at, started_at, finished_at, lease_owner,
  lease_expires_at, error, result_ref, result, data
FROM jobqueue.read_jobs_v1(@tenant_id, @job_ids, @tenant_cap, @worker_alive_s, @has_data, @has_result)
ORDER BY job_id DESC
