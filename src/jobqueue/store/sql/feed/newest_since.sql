-- Read the newest number of each of a tenant's jobs that changed after a number: what a snapshot taken in the same moment has shown already.
SELECT e.job_id, max(e.seq) AS seq
FROM jobqueue.event e
WHERE e.seq > @seq_after::bigint AND e.tenant_id = @tenant_id
GROUP BY e.job_id
