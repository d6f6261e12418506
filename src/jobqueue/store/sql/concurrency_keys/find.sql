-- Look a queue's concurrency keys up.
SELECT k.name, k.key_id
FROM jobqueue.concurrency_key k
WHERE k.tenant_id = @tenant_id AND k.queue_id = @queue_id AND k.name = ANY (@names::text[])
