-- Move committed jobs on from the inbox, all or one by id; answers the lanes that got jobs, and how many of them are due.
-- edges:   none -> queued|scheduled
-- locks:   inbox rows SKIP LOCKED
-- tenant:  all, periodic; one by id: that tenant's
SELECT queue_id, type_id, tenant_id, band, jobs, due
FROM jobqueue.receive_v1(@limit, @tenant_id, @job_id, @default_attempts_max, @default_expires_in_s)
