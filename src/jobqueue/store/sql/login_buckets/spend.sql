-- Let each subject try once more, at its rate (GCRA); a subject without a row is over its rate.
-- params:  @steps_s: seconds between two tries of each subject at its rate; @window_s: how far it may run ahead
-- locks:   rows in the order of their subjects; statement_timestamp() is one moment for the whole row, and a wait for a lock only makes it stricter
-- tenant:  all, nobody is known yet
INSERT INTO jobqueue.login_bucket AS b (subject, free_at)
SELECT u.subject, statement_timestamp() + u.step_s * interval '1 second'
FROM unnest(@subjects::uuid[], @steps_s::double precision[]) u(subject, step_s)
ORDER BY u.subject
ON CONFLICT (subject) DO UPDATE
SET free_at = greatest(b.free_at, statement_timestamp()) + (excluded.free_at - statement_timestamp())
WHERE greatest(b.free_at, statement_timestamp()) + (excluded.free_at - statement_timestamp()) <= statement_timestamp() + @window_s::double precision * interval '1 second'
RETURNING b.subject
