-- Write down what ever arrived at and left each queue whose figures moved since its newest sample, and forget old samples.
-- tenant:  all, periodic
WITH
now AS MATERIALIZED (
  SELECT t.tenant_id, t.queue_id, coalesce(sum(t.entered) FILTER (WHERE t.status = 'queued'), 0) AS arrived,
    coalesce(sum(t.entered) FILTER (WHERE t.status IN ('succeeded', 'failed', 'dlq', 'cancelled')), 0) AS ended, sum(t.ran_s) AS ran_s
  FROM jobqueue.tally t
  GROUP BY 1, 2),
old AS (DELETE FROM jobqueue.queue_sample s WHERE s.at < clock_timestamp() - @kept_s * interval '1 second'),
taken AS (
  INSERT INTO jobqueue.queue_sample (tenant_id, queue_id, arrived, ended, ran_s)
  SELECT n.tenant_id, n.queue_id, n.arrived, n.ended, n.ran_s
  FROM now n
  WHERE NOT EXISTS (
    SELECT
    FROM jobqueue.queue_sample s
    WHERE s.tenant_id = n.tenant_id AND s.queue_id = n.queue_id AND s.arrived = n.arrived AND s.ended = n.ended
      AND s.at > clock_timestamp() - @window_s * interval '1 second')
  RETURNING queue_id)
SELECT count(*) AS queues
FROM taken
