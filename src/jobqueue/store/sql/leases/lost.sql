-- Lock leases whose time is over; the caller decides and settles in the same transaction.
-- locks:   concurrency keys -> lease rows SKIP LOCKED
-- tenant:  all, periodic
SELECT job_id, token, tenant_id, attempt, attempts_max, crashes, key_id, worker_id, ran_s, is_overdue
FROM jobqueue.lost_v1(@limit, @resumed_for_s, @now)
