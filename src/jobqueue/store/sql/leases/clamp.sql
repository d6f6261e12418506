-- Bring leases back whose expiry lies further ahead than two of their lengths: the clock was set back under them.
-- locks:   lease rows SKIP LOCKED
-- tenant:  all, periodic
UPDATE jobqueue.lease l
SET expires_at = clock_timestamp() + l.lease_s * interval '1 second'
WHERE l.job_id = ANY (ARRAY(
  SELECT x.job_id
  FROM jobqueue.lease x
  WHERE x.expires_at > clock_timestamp() + 2 * x.lease_s * interval '1 second'
  ORDER BY x.job_id
  LIMIT @limit
  FOR UPDATE SKIP LOCKED))
RETURNING l.job_id
