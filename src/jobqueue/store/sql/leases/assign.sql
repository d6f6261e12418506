-- Give leases of one claim, which nobody has seen yet, to the other polls it was made for.
-- params:  arrays of one length
-- locks:   lease rows, by id
WITH told AS MATERIALIZED (
  SELECT u.job_id, u.token, u.worker_id, u.claim_id, u.lease_s
  FROM unnest(@job_ids::uuid[], @tokens::uuid[], @worker_ids::int[], @claim_ids::uuid[], @leases_s::double precision[])
    u(job_id, token, worker_id, claim_id, lease_s)
  ORDER BY u.job_id)
UPDATE jobqueue.lease l
SET worker_id = t.worker_id, claim_id = t.claim_id, lease_s = t.lease_s, expires_at = clock_timestamp() + t.lease_s * interval '1 second'
FROM told t
WHERE l.job_id = t.job_id AND l.token = t.token AND l.tenant_id = @tenant_id
RETURNING l.token
