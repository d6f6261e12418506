-- Change one tenant's settings of a queue.
-- locks:   tenant, waited for
SELECT is_paused, max_concurrent, key_max_concurrent, rate_per_second, max_attempts, retry_base_s
FROM jobqueue.set_queue_v1(@tenant_id, @queue_id, @changes)
