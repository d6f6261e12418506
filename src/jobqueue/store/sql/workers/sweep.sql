-- Forget workers silent for so long that no kept history names them.
-- tenant:  all, periodic
DELETE FROM jobqueue.worker w
WHERE w.last_heartbeat_at < clock_timestamp() - @silent_s * interval '1 second'
  AND NOT EXISTS (SELECT FROM jobqueue.lease l WHERE l.worker_id = w.worker_id)
RETURNING w.worker_id
