-- Make a worker known, or known again; tenant null: it serves all.
-- tenant:  all, or its own
INSERT INTO jobqueue.worker (tenant_id, name, queues, job_types, concurrency, version)
VALUES (@tenant_id, @name, @queues, @job_types, @concurrency, @version)
ON CONFLICT (coalesce(tenant_id, 0), name) DO UPDATE
SET queues = excluded.queues, job_types = excluded.job_types, concurrency = excluded.concurrency, version = excluded.version,
  state = 'running', directive = 'run', started_at = clock_timestamp(), last_heartbeat_at = clock_timestamp()
RETURNING worker_id
