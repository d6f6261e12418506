-- List what a worker still holds of one claim, in the order it was claimed.
SELECT l.job_id, l.token, l.attempt, l.crashes, l.lease_s,
  extract(epoch FROM l.expires_at - clock_timestamp())::double precision AS left_s, j.timeout_s, j.traceparent
FROM jobqueue.lease l
JOIN jobqueue.job j ON j.tenant_id = l.tenant_id AND j.job_id = l.job_id
WHERE l.tenant_id = @tenant_id AND l.worker_id = @worker_id AND l.claim_id = @claim_id
ORDER BY l.claim_seq
LIMIT @limit
