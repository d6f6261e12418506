-- Renew leases and write down starts and progress.
-- edges:   leased -> running
-- locks:   lease rows, by id, SKIP LOCKED
-- tenant:  all, or one; the token is the right
SELECT job_id, token, status, expires_at
FROM jobqueue.heartbeat_v1(@tenant_id, @job_ids, @tokens, @started_ago_s, @progress, @messages)
