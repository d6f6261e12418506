-- A worker is alive; answers what it is told to do. No row: it was swept and must register again.
-- tenant:  all, or its own
UPDATE jobqueue.worker
SET last_heartbeat_at = clock_timestamp(), state = @state
WHERE worker_id = @worker_id
RETURNING directive
