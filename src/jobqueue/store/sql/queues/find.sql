-- Look names up.
-- tenant:  all, names are shared
SELECT name, queue_id AS number
FROM jobqueue.queue
WHERE name = ANY (@names::text[])
