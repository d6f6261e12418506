-- Lock leases of a restored database, over or not: whoever held them holds nothing here.
-- locks:   concurrency keys, waited for -> lease rows, by id. Nobody else is at work
-- tenant:  all, once after a restore
WITH held AS MATERIALIZED (
  SELECT l.job_id, l.token, l.attempt, l.attempts_max, l.crashes, l.key_id
  FROM jobqueue.lease l
  ORDER BY l.job_id
  LIMIT @limit
  FOR UPDATE)
SELECT h.job_id, h.token, h.attempt, h.attempts_max, h.crashes, h.key_id
FROM held h
