-- Take deliveries that are due, of each endpoint as many as it has room for, the longest due first; what is not recorded in time is due again.
-- params:  @busy_ids, @busy_counts: what of which endpoint is being sent; @probed_after int: failures in a row from which on one at a time
--   is sent; @claim_s double precision: longer than a try may take; @now timestamptz (tests only)
-- locks:   SKIP LOCKED; index webhook_delivery_due
-- tenant:  all, endpoints of everybody are served
WITH room AS (
  SELECT w.webhook_id, m.at, CASE WHEN w.failures_in_row >= @probed_after::int THEN 1 ELSE @endpoint_max::int END - coalesce(b.n, 0) AS n
  FROM jobqueue.webhook w
  CROSS JOIN (SELECT coalesce(@now::timestamptz, clock_timestamp()) AS at OFFSET 0) m
  LEFT JOIN unnest(@busy_ids::uuid[], @busy_counts::int[]) AS b(webhook_id, n) ON b.webhook_id = w.webhook_id
  WHERE w.state = 'active' AND (w.resume_at IS NULL OR w.resume_at <= m.at)
), due AS MATERIALIZED (
  SELECT r.webhook_id, r.at, f.seq
  FROM room r
  CROSS JOIN LATERAL (
    SELECT d.seq, d.next_at
    FROM jobqueue.webhook_delivery d
    WHERE d.webhook_id = r.webhook_id AND d.status = 'pending' AND d.next_at <= r.at
    ORDER BY d.next_at, d.seq
    LIMIT greatest(r.n, 0)
    FOR UPDATE SKIP LOCKED) f
  ORDER BY f.next_at
  LIMIT @limit::int
)
UPDATE jobqueue.webhook_delivery d
SET attempts = d.attempts + 1, next_at = u.at + @claim_s::double precision * interval '1 second'
FROM due u
JOIN jobqueue.webhook w ON w.webhook_id = u.webhook_id
JOIN jobqueue.tenant t ON t.tenant_id = w.tenant_id
WHERE d.webhook_id = u.webhook_id AND d.seq = u.seq
RETURNING d.webhook_id, d.seq, d.attempts, d.body, d.event_at, t.name AS tenant, w.url, w.secret_sealed,
  CASE WHEN w.previous_until > u.at THEN w.previous_sealed END AS previous_sealed
