-- Record what came of tries, each fenced by its number, and how their endpoints stand; answers the endpoints disabled by it.
-- params:  arrays of one length, a try each; @paused_after int: failures in a row from which on nothing is sent for a while;
--   @pause_s_max, @failing_s_max double precision; @now timestamptz (tests only)
-- locks:   endpoints whose standing may change, in order of their ids
-- tenant:  all, endpoints of everybody are served
WITH told AS MATERIALIZED (
  SELECT t.webhook_id, t.seq, t.attempt, t.status, t.delay_s, t.answer_status, t.error, t.excerpt, t.answer_s, t.is_gone, m.at
  FROM unnest(@webhook_ids::uuid[], @seqs::bigint[], @attempts::int[], @statuses::text[], @delays_s::double precision[],
    @answer_statuses::int[], @errors::text[], @excerpts::text[], @answers_s::double precision[], @gone::boolean[])
    AS t(webhook_id, seq, attempt, status, delay_s, answer_status, error, excerpt, answer_s, is_gone)
  CROSS JOIN (SELECT coalesce(@now::timestamptz, clock_timestamp()) AS at OFFSET 0) m
), recorded AS (
  UPDATE jobqueue.webhook_delivery d
  SET status = t.status, next_at = CASE WHEN t.status = 'pending' THEN t.at + t.delay_s * interval '1 second' END, tried_at = t.at,
    answer_status = t.answer_status, answer_excerpt = t.excerpt, answer_s = t.answer_s, error = t.error
  FROM told t
  WHERE d.webhook_id = t.webhook_id AND d.seq = t.seq AND d.status = 'pending' AND d.attempts = t.attempt
), tried AS (
  SELECT t.webhook_id, max(t.at) AS at, bool_or(t.status = 'delivered') AS is_well, count(*) AS n, bool_or(t.is_gone) AS is_gone
  FROM told t
  GROUP BY t.webhook_id
), before AS MATERIALIZED (
  SELECT w.webhook_id, r.at, r.is_well, r.is_gone, w.state, w.disabled_at, w.disabled_reason,
    CASE WHEN r.is_well THEN 0 ELSE w.failures_in_row + r.n::int END AS failures,
    CASE WHEN NOT r.is_well THEN coalesce(w.failing_since, r.at) END AS since
  FROM jobqueue.webhook w
  JOIN tried r ON r.webhook_id = w.webhook_id
  WHERE r.is_gone OR NOT r.is_well OR w.failures_in_row > 0
  ORDER BY w.webhook_id
  FOR UPDATE OF w
), judged AS (
  SELECT b.webhook_id, b.at, b.failures, b.since, b.state, b.disabled_at,
    CASE WHEN b.state = 'disabled' THEN b.disabled_reason WHEN b.is_gone THEN 'gone'
      WHEN b.since <= b.at - @failing_s_max::double precision * interval '1 second' THEN 'failing' END AS reason
  FROM before b
)
UPDATE jobqueue.webhook w
SET failures_in_row = j.failures, failing_since = j.since,
  resume_at = CASE WHEN j.failures >= @paused_after::int
    THEN j.at + least(@pause_s_max::double precision, power(2, least(j.failures - @paused_after, 20))) * interval '1 second' END,
  state = CASE WHEN j.reason IS NULL THEN 'active' ELSE 'disabled' END,
  disabled_reason = j.reason,
  disabled_at = CASE WHEN j.reason IS NOT NULL THEN coalesce(j.disabled_at, j.at) END
FROM judged j
JOIN jobqueue.webhook v ON v.webhook_id = j.webhook_id
JOIN jobqueue.tenant t ON t.tenant_id = v.tenant_id
WHERE w.webhook_id = j.webhook_id
RETURNING w.webhook_id, t.name AS tenant, w.disabled_reason, j.state = 'active' AND w.state = 'disabled' AS is_disabled_now
