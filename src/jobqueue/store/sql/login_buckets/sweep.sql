-- Forget those that have not run ahead.
-- tenant:  all, the reaper keeps the table small
DELETE FROM jobqueue.login_bucket
WHERE subject IN (
  SELECT b.subject
  FROM jobqueue.login_bucket b
  WHERE b.free_at < clock_timestamp()
  ORDER BY b.free_at
  LIMIT @limit
  FOR UPDATE SKIP LOCKED)
RETURNING subject
