-- Lock the cursor and read up to which number of the history deliveries have been made; no row: there is none yet.
-- params:  @idle_ms int: the server ends the transaction of a holder that does nothing for so long, as one that is frozen does
-- locks:   the one row, for the transaction: who else makes deliveries waits
-- tenant:  all, numbers are of all jobs
SELECT seq, set_config('idle_in_transaction_session_timeout', (@idle_ms::int)::text, true) AS idle_ms
FROM jobqueue.webhook_cursor
FOR UPDATE
