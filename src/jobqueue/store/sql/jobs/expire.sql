-- End jobs that were not started in time.
-- edges:   queued|scheduled|blocked -> expired
-- locks:   place rows SKIP LOCKED; indexes *_start_by
-- tenant:  all, periodic
SELECT jobqueue.expire_v1(@limit, @now) AS jobs
