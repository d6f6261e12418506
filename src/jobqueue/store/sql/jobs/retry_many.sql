-- Send jobs back to the queue with their attempts reset; answers how many went, and their lanes' numbers.
-- edges:   dlq|cancelled|expired|succeeded|failed -> queued
-- locks:   the job's row -> one place row each, in order of id
SELECT count(*) FILTER (WHERE c.verdict = 'queued') AS jobs
FROM (SELECT u.job_id FROM unnest(@job_ids::uuid[]) u(job_id) ORDER BY u.job_id) u
CROSS JOIN LATERAL jobqueue.retry_v1(@tenant_id, u.job_id, true) c
