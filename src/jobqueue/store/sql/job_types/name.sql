-- Look numbers up.
-- tenant:  all, names are shared
SELECT type_id AS number, name
FROM jobqueue.job_type
WHERE type_id = ANY (@numbers::int[])
