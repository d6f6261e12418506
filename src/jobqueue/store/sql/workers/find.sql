-- A tenant's worker shows up: it is alive; answers its number and what it is told to do. No row: it is not known.
-- params:  @state null: as it was
UPDATE jobqueue.worker
SET last_heartbeat_at = clock_timestamp(), state = coalesce(@state, state)
WHERE coalesce(tenant_id, 0) = @tenant_id AND name = @name
RETURNING worker_id, directive
