-- Change a tenant: what @changes names, null standing for the plan's; another plan brings its weight along. Answers what is set now. No row: there is no such tenant.
-- params:  @changes text: a JSON object of column -> value
-- locks:   the tenant's gate, so a limit holds for every claim after the commit
-- tenant:  all, operators only
UPDATE jobqueue.tenant t
SET plan = coalesce(n.plan, t.plan),
  weight = coalesce(n.weight, CASE WHEN n.plan IS NULL AND NOT n.has_weight THEN t.weight ELSE (SELECT p.weight FROM jobqueue.plan p WHERE p.name = coalesce(n.plan, t.plan)) END),
  max_concurrent = CASE WHEN n.has_max_concurrent THEN n.max_concurrent ELSE t.max_concurrent END,
  max_queued = CASE WHEN n.has_max_queued THEN n.max_queued ELSE t.max_queued END,
  rate_per_minute = CASE WHEN n.has_rate_per_minute THEN n.rate_per_minute ELSE t.rate_per_minute END
FROM (
  SELECT c ->> 'plan' AS plan, (c ->> 'weight')::smallint AS weight, c ? 'weight' AS has_weight,
    (c ->> 'max_concurrent')::int AS max_concurrent, c ? 'max_concurrent' AS has_max_concurrent,
    (c ->> 'max_queued')::int AS max_queued, c ? 'max_queued' AS has_max_queued,
    (c ->> 'rate_per_minute')::int AS rate_per_minute, c ? 'rate_per_minute' AS has_rate_per_minute
  FROM (SELECT @changes::jsonb AS c) s) n
WHERE t.name = @name
RETURNING t.tenant_id, t.plan, t.weight, t.max_concurrent, t.max_queued, t.rate_per_minute
