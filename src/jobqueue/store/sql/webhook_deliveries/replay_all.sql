-- Send again, from their first try on, those of an endpoint's deliveries before a number and within some rows of it that fit.
-- params:  @before_seq bigint; @rows_max int: how many rows are looked at; @after, @until timestamptz: of the event, null: any;
--   @now timestamptz (tests only)
WITH looked AS (
  SELECT v.seq, v.status, v.event_at
  FROM jobqueue.webhook_delivery v
  WHERE v.tenant_id = @tenant_id AND v.webhook_id = @webhook_id AND v.seq < @before_seq::bigint
  ORDER BY v.seq DESC
  LIMIT @rows_max::int
), moment AS MATERIALIZED (
  SELECT coalesce(@now::timestamptz, clock_timestamp()) AS at
)
UPDATE jobqueue.webhook_delivery d
SET status = 'pending', attempts = 0, next_at = m.at
FROM looked l
CROSS JOIN moment m
WHERE d.tenant_id = @tenant_id AND d.webhook_id = @webhook_id AND d.seq = l.seq AND l.status = ANY (@statuses::text[])
  AND (@after::timestamptz IS NULL OR l.event_at >= @after) AND (@until::timestamptz IS NULL OR l.event_at < @until)
RETURNING d.seq
