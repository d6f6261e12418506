-- List the lanes that have due jobs of the given types.
-- tenant:  all, a worker may serve many; or one
SELECT queue_id, type_id, tenant_id, band, weight
FROM jobqueue.active_lanes_v1(@tenant_id, @queues, @types, @limit)
