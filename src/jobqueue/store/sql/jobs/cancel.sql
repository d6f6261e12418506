-- Cancel a job wherever it is.
-- edges:   queued|scheduled|failed|blocked -> cancelled, leased -> leased, running -> running
-- locks:   one place row or one lease row
SELECT verdict, status
FROM jobqueue.cancel_v1(@tenant_id, @job_id, @grace_s)
