-- Cancel jobs wherever they are; answers how many were cancelled or asked to, and how many of them ended by it.
-- edges:   queued|scheduled|failed|blocked -> cancelled, leased -> leased, running -> running
-- locks:   one place row or lease row each, in order of id
SELECT count(*) FILTER (WHERE c.verdict IN ('cancelled', 'cancelling')) AS jobs, count(*) FILTER (WHERE c.verdict = 'cancelled') AS ended
FROM (SELECT u.job_id FROM unnest(@job_ids::uuid[]) u(job_id) ORDER BY u.job_id) u
CROSS JOIN LATERAL jobqueue.cancel_v1(@tenant_id, u.job_id, @grace_s) c
