-- Say for how long the delivery that is due the longest has been, of endpoints that are sent to now; null: none is.
-- tenant:  all, endpoints of everybody are served
SELECT max(extract(epoch FROM clock_timestamp() - f.next_at))::double precision AS lag_s
FROM jobqueue.webhook w
CROSS JOIN LATERAL (
  SELECT d.next_at
  FROM jobqueue.webhook_delivery d
  WHERE d.webhook_id = w.webhook_id AND d.status = 'pending' AND d.next_at <= clock_timestamp()
  ORDER BY d.next_at, d.seq
  LIMIT 1) f
WHERE w.state = 'active' AND w.failures_in_row = 0
