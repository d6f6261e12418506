-- Take back what a try that succeeded had spent.
-- locks:   rows in the order of their subjects
-- tenant:  all, a try belongs to an account and an address
WITH held AS (
  SELECT b.subject, u.step_s
  FROM jobqueue.login_bucket b
  JOIN unnest(@subjects::uuid[], @steps_s::double precision[]) u(subject, step_s) ON u.subject = b.subject
  ORDER BY b.subject
  FOR NO KEY UPDATE OF b)
UPDATE jobqueue.login_bucket b
SET free_at = b.free_at - h.step_s * interval '1 second'
FROM held h
WHERE b.subject = h.subject
RETURNING b.subject
