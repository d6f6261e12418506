-- Let parked jobs of keys with free slots in.
-- edges:   queued -> queued
-- locks:   concurrency key SKIP LOCKED -> parked rows
-- tenant:  all, periodic
SELECT jobqueue.sweep_keys_v1(@limit) AS jobs
