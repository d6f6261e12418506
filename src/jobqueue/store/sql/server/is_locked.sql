-- Say whether somebody holds or waits for a whole table that every submit writes to, as dropping a week does for a moment.
-- tenant:  none, it is about tables
SELECT EXISTS (
  SELECT
  FROM pg_locks l
  WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
    AND l.relation IN ('jobqueue.job'::regclass, 'jobqueue.outcome'::regclass, 'jobqueue.event'::regclass)) AS is_locked
