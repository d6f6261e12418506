-- Look numbers up.
-- tenant:  all, names are shared
SELECT queue_id AS number, name
FROM jobqueue.queue
WHERE queue_id = ANY (@numbers::int[])
