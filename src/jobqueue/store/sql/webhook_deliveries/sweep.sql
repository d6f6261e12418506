-- Forget a page of a walk over all deliveries: what is old enough, or of an endpoint that is no more. Answers where the page ended.
-- params:  @kept_s double precision: from when a delivery was made; @now timestamptz (tests only)
-- tenant:  all, time is over for everybody
WITH page AS MATERIALIZED (
  SELECT d.webhook_id, d.seq, d.status, d.created_at
  FROM jobqueue.webhook_delivery d
  WHERE (d.webhook_id, d.seq) > (@after_id::uuid, @after_seq::bigint)
  ORDER BY d.webhook_id, d.seq
  LIMIT @limit::int
), gone AS (
  DELETE FROM jobqueue.webhook_delivery d
  USING page p
  LEFT JOIN jobqueue.webhook w ON w.webhook_id = p.webhook_id
  WHERE d.webhook_id = p.webhook_id AND d.seq = p.seq
    AND (w.webhook_id IS NULL
      OR (p.created_at < coalesce(@now::timestamptz, clock_timestamp()) - @kept_s::double precision * interval '1 second'
        AND (p.status <> 'pending' OR w.state = 'disabled')))
  RETURNING d.seq
)
SELECT p.webhook_id, p.seq, (SELECT count(*) FROM gone) AS swept
FROM page p
ORDER BY p.webhook_id DESC, p.seq DESC
LIMIT 1
