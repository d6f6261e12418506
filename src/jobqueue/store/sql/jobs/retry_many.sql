-- Send jobs back to the queue with their attempts reset; answers the lanes they went to, and how many to each.
-- edges:   dlq|cancelled|expired|succeeded|failed -> queued
-- locks:   the job's row -> one place row each, in order of id
SELECT j.queue_id, j.type_id, (j.priority + CASE WHEN j.key_id IS NULL THEN 0 ELSE 4 END)::smallint AS band, count(*) AS jobs
FROM (
  SELECT u.job_id, c.verdict
  FROM (SELECT u.job_id FROM unnest(@job_ids::uuid[]) u(job_id) ORDER BY u.job_id) u
  CROSS JOIN LATERAL jobqueue.retry_v1(@tenant_id, u.job_id, true) c
  OFFSET 0) done
JOIN jobqueue.job j ON j.tenant_id = @tenant_id AND j.job_id = done.job_id
WHERE done.verdict = 'queued'
GROUP BY 1, 2, 3
