-- Name the transactions that are writing history now: each holds its lock until its rows are visible.
-- tenant:  all, transactions are of nobody
-- Through the parent: every statement of ours inserts into jobqueue.event, and each prepared transaction keeps its lock as well.
SELECT DISTINCT l.virtualtransaction AS writer
FROM pg_catalog.pg_locks l
WHERE l.locktype = 'relation'
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database())
  AND l.relation = 'jobqueue.event'::regclass
  AND l.mode = 'RowExclusiveLock'
  AND l.granted
