-- Find the first row of the history after a number; null: there is none.
-- tenant:  all, numbers are of all jobs
SELECT min(e.seq) AS seq
FROM jobqueue.event e
WHERE e.seq > @seq_after::bigint
