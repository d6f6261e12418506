-- Make due what waited for its time; answers the lanes that got jobs.
-- edges:   scheduled|failed -> queued
-- locks:   scheduled rows SKIP LOCKED; index scheduled_due
-- tenant:  all, periodic
SELECT queue_id, type_id, tenant_id, band, jobs
FROM jobqueue.promote_v1(@limit, @now)
