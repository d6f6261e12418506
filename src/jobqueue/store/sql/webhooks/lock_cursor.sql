-- Lock the cursor and read up to which number of the history deliveries have been made; no row: there is none yet.
-- locks:   the one row, for the transaction: who else makes deliveries waits
-- tenant:  all, numbers are of all jobs
SELECT seq
FROM jobqueue.webhook_cursor
FOR UPDATE
