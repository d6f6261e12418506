-- Lock leases whose time is over; the caller decides and settles in the same transaction.
-- locks:   concurrency keys -> lease rows SKIP LOCKED
-- tenant:  all, periodic
SELECT l.job_id, l.token, l.attempt, l.attempts_max, l.crashes, l.key_id, l.ran_s, l.is_overdue, t.name AS tenant, w.name AS worker
FROM jobqueue.lost_v1(@limit, @resumed_for_s, @now) l
JOIN jobqueue.tenant t ON t.tenant_id = l.tenant_id
LEFT JOIN jobqueue.worker w ON w.worker_id = l.worker_id
