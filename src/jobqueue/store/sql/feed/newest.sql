-- Read the newest number of the history; read it before asking who is writing.
-- tenant:  all, numbers are of all jobs
SELECT CASE WHEN is_called THEN last_value ELSE 0 END AS seq
FROM jobqueue.event_seq
