-- Note up to which number of the history deliveries have been made.
-- tenant:  all, numbers are of all jobs
INSERT INTO jobqueue.webhook_cursor (seq)
VALUES (@seq)
ON CONFLICT (is_it) DO UPDATE SET seq = excluded.seq
RETURNING seq
