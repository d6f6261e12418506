-- Number events so far ahead that none gets a number given out before the restore; streams that come back with one are told to start over.
-- tenant:  all, once after a restore
WITH ahead AS MATERIALIZED (
  SELECT setval('jobqueue.event_seq', (SELECT s.last_value FROM jobqueue.event_seq s) + @skipped::bigint) AS seq)
INSERT INTO jobqueue.forgotten (seq)
SELECT a.seq FROM ahead a
ON CONFLICT (is_it) DO UPDATE SET seq = greatest(forgotten.seq, excluded.seq)
RETURNING seq
