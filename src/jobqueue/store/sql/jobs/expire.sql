-- End jobs that were not started in time; answers how many of each tenant.
-- edges:   queued|scheduled|blocked -> expired
-- locks:   place rows SKIP LOCKED; indexes *_start_by
-- tenant:  all, periodic
SELECT e.tenant, e.jobs
FROM jobqueue.expire_v1(@limit, @now) e
