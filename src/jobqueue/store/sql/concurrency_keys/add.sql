-- Give new concurrency keys a number; those that exist are left out of the answer.
-- locks:   names, in order
INSERT INTO jobqueue.concurrency_key (tenant_id, queue_id, name)
SELECT @tenant_id, @queue_id, n FROM unnest(@names::text[]) n ORDER BY n
ON CONFLICT DO NOTHING
RETURNING name, key_id
