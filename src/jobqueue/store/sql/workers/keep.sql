-- Workers whose polls wait are alive; answers those that shall take no more jobs.
-- locks:   worker rows, by number
-- tenant:  all, periodic
WITH waiting AS MATERIALIZED (
  SELECT w.worker_id
  FROM jobqueue.worker w
  WHERE w.worker_id = ANY (@worker_ids)
  ORDER BY w.worker_id
  FOR NO KEY UPDATE),
kept AS (
  UPDATE jobqueue.worker w
  SET last_heartbeat_at = clock_timestamp()
  FROM waiting x
  WHERE w.worker_id = x.worker_id
  RETURNING w.worker_id, w.directive)
SELECT k.worker_id
FROM kept k
WHERE k.directive <> 'run'
