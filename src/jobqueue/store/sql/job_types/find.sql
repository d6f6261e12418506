-- Look names up.
-- tenant:  all, names are shared
SELECT name, type_id AS number
FROM jobqueue.job_type
WHERE name = ANY (@names::text[])
