-- Claim due jobs of the lanes a claimer names, best first within each tenant, and lease them.
-- edges:   queued -> leased
-- params:  p_tenants with, in the same order: p_takes (jobs at the most), p_criticals (how many of them may be critical while others
--          wait), p_lows (no live lease of the tenant has a smaller claim_seq); p_lane_*: the lanes, their floors (null: none) and how
--          many rows of each are read. p_tenant_cap: running jobs of a tenant whose own and whose plan's limit are null; 0 is no limit
-- locks:   tenant SKIP LOCKED -> concurrency key SKIP LOCKED -> ready rows, by ctid; index ready_claim
-- tenant:  all, a worker may serve many
-- answer:  the jobs, best first (seconds: how long each had been due; negative: since this claim began); then, without a job, what the
--          claimer learns: each lane that gave some (n: how many; floor, low; seconds: its queue's retry_base_s), each tenant (queue_id 0) and each queue of one that a limit kept from giving more, and each tenant
--          (queue_id null) whose gate another claim holds
-- Each statement here has a snapshot of its own: what is counted after a gate is locked is exact. The tenant's gate makes its ready rows
-- ours (but for cancel and expire, which delete: then our delete finds nothing), so they are read without locks and only the chosen go.
-- Merge: lanes of one tenant are ordered together. A lane that was cut at its limit stops the order there (its next row may be older than
-- the rest of the others), so a small limit shortens a batch but never breaks the order; the claimer widens the lanes that were cut.
-- Virtual time (sort_at + priority * p_aging) is applied here, not stored: within one band sort_at rises with the clock, so a floor never
-- hides a late better row.
-- Planner settings are fixed: plans must not depend on statistics of an idle queue. Tables are looked up row by row behind OFFSET 0, by conditions
-- that suit each index that could be chosen: a plan made while a table was empty must be right when it is full.
-- A token is half drawn, once a claim, since counters rewind after a restore, and half claim_seq: drawing for each job cost a fifth of a claim.
-- jit is off in each function with such settings: before Postgres 18 a forbidden node's cost would have its plan compiled at each call.
CREATE FUNCTION jobqueue.claim_v1(
  p_worker_id int, p_claim_id uuid, p_lease_s double precision, p_timeout_s int, p_grace_s double precision, p_tenant_cap int, p_aging interval,
  p_tenants int[], p_takes int[], p_criticals int[], p_lows bigint[],
  p_lane_tenants int[], p_lane_queues int[], p_lane_types int[], p_lane_bands smallint[], p_lane_floors timestamptz[], p_lane_limits int[])
RETURNS TABLE (
  job_id uuid, token uuid, tenant_id int, queue_id int, type_id int, band smallint, attempt smallint, attempts_max smallint, crashes smallint,
  key_id bigint, timeout_s int, tags text[], metadata json, idempotency_key text, correlation_id text, traceparent text, data json,
  n bigint, floor timestamptz, low bigint, seconds double precision)
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
  v_gates int[];
  v_caps int[];
  v_keys bigint[];
  v_keys_free int[];
  v_has_keys boolean := EXISTS (SELECT FROM unnest(p_lane_bands) b WHERE b & 4 > 0);
  v_secret text := left(replace(gen_random_uuid()::text, '-', ''), 16);
  v_floor_max timestamptz := clock_timestamp() - interval '500 ms';  -- a submit that commits later than this after its clock is found when floors are dropped
BEGIN
  WITH locked AS (
    SELECT t.tenant_id, nullif(coalesce(t.max_concurrent, (SELECT p.max_concurrent FROM jobqueue.plan p WHERE p.name = t.plan), p_tenant_cap), 0) AS cap
    FROM jobqueue.tenant t
    WHERE t.tenant_id = ANY (p_tenants)
    ORDER BY t.tenant_id
    FOR NO KEY UPDATE SKIP LOCKED)
  SELECT array_agg(l.tenant_id), array_agg(l.cap) INTO v_gates, v_caps FROM locked l;
  IF v_gates IS NULL THEN
    RETURN QUERY
    SELECT NULL::uuid, NULL::uuid, u.tid, NULL::int, NULL::int, NULL::smallint, NULL::smallint, NULL::smallint, NULL::smallint, NULL::bigint, NULL::int,
      NULL::text[], NULL::json, NULL::text, NULL::text, NULL::text, NULL::json, NULL::bigint, NULL::timestamptz, NULL::bigint, NULL::double precision
    FROM unnest(p_tenants) u(tid)
    WHERE u.tid <> ALL (coalesce(v_gates, '{}'));
    RETURN;
  END IF;

  IF v_has_keys THEN -- the keys at the heads of the keyed lanes; one that is busy in a settle is left for the next round
    WITH head AS (
      SELECT DISTINCT x.key_id
      FROM unnest(p_lane_tenants, p_lane_queues, p_lane_types, p_lane_bands, p_lane_limits) l(tid, qid, typ, band, lim)
      CROSS JOIN LATERAL (
        SELECT r.key_id
        FROM jobqueue.ready r
        WHERE r.queue_id = l.qid AND r.type_id = l.typ AND r.tenant_id = l.tid AND r.band = l.band
        ORDER BY r.sort_at, r.job_id
        LIMIT l.lim) x
      WHERE l.band & 4 > 0 AND l.tid = ANY (v_gates)),
    locked AS (
      SELECT k.key_id, k.tenant_id, k.queue_id
      FROM jobqueue.concurrency_key k
      WHERE k.key_id = ANY (ARRAY(SELECT h.key_id FROM head h))
      ORDER BY k.key_id
      FOR NO KEY UPDATE SKIP LOCKED)
    SELECT array_agg(l.key_id), array_agg(coalesce(s.key_max_concurrent, 1)) INTO v_keys, v_keys_free
    FROM locked l LEFT JOIN jobqueue.tenant_queue s ON s.tenant_id = l.tenant_id AND s.queue_id = l.queue_id;
    SELECT array_agg(greatest(0, u.cap - (SELECT count(*)::int FROM jobqueue.lease l WHERE l.key_id = u.key_id)) ORDER BY u.ord) INTO v_keys_free
    FROM unnest(v_keys, v_keys_free) WITH ORDINALITY u(key_id, cap, ord);
  END IF;

  RETURN QUERY
  WITH
  lane AS MATERIALIZED (
    SELECT l.tid, l.qid, l.typ, l.band, coalesce(l.floor, '-infinity') AS floor, l.lim, nullif(s.max_concurrent, 0) AS cap, s.retry_base_s, s.ct,
      CASE WHEN s.rate_per_second IS NOT NULL THEN least(greatest(1, s.rate_per_second),
        s.rate_tokens + s.rate_per_second * greatest(0, least(3600, extract(epoch FROM clock_timestamp() - s.rated_at)))) END AS tokens
    FROM unnest(p_lane_tenants, p_lane_queues, p_lane_types, p_lane_bands, p_lane_floors, p_lane_limits) l(tid, qid, typ, band, floor, lim)
    LEFT JOIN LATERAL (SELECT x.ctid AS ct, x.* FROM jobqueue.tenant_queue x WHERE x.tenant_id = l.tid AND x.queue_id = l.qid OFFSET 0) s ON true
    WHERE l.tid = ANY (v_gates) AND s.is_paused IS NOT TRUE),
  capped AS MATERIALIZED (   -- queues with a limit of their own, and how many more they take; a bucket holds one second of the rate
    SELECT q.tid, q.qid, q.cap, q.tokens, q.ct, n.free, least(floor(q.tokens)::int, n.free) AS room
    FROM (SELECT l.tid, l.qid, l.cap, l.ct, max(l.tokens) AS tokens FROM lane l WHERE l.cap IS NOT NULL OR l.tokens IS NOT NULL GROUP BY 1, 2, 3, 4) q
    JOIN unnest(p_tenants, p_lows) f(tid, low) ON f.tid = q.tid
    CROSS JOIN LATERAL (
      SELECT q.cap - count(*)::int AS free
      FROM jobqueue.lease l
      WHERE q.cap IS NOT NULL AND l.tenant_id = q.tid AND l.queue_id = q.qid AND l.claim_seq >= f.low) n),
  gate AS MATERIALIZED (     -- how many each tenant takes; no limit: no count, and then its low-water stays where it was
    SELECT u.tid, f.critical, f.take AS asked, f.low AS low_before, k.is_counted, n.low, CASE WHEN u.cap IS NULL THEN f.take ELSE least(f.take, greatest(0, u.cap - n.running)) END AS take
    FROM unnest(v_gates, v_caps) u(tid, cap)
    JOIN unnest(p_tenants, p_takes, p_criticals, p_lows) f(tid, take, critical, low) ON f.tid = u.tid
    CROSS JOIN LATERAL (SELECT u.cap IS NOT NULL OR u.tid IN (SELECT c.tid FROM capped c WHERE c.cap IS NOT NULL) AS is_counted) k
    CROSS JOIN LATERAL (
      SELECT count(*)::int AS running, min(l.claim_seq) AS low
      FROM jobqueue.lease l
      WHERE k.is_counted AND l.tenant_id = u.tid AND l.claim_seq >= f.low) n),
  due AS (
    SELECT g.tid, g.take, g.critical, c.room, l.qid, l.band & 3 > 0 AS is_ordinary, x.ct, x.job_id, x.key_id,
      x.sort_at + (l.band & 3) * p_aging AS virtual_at, (x.n = least(l.lim, g.take))::int AS is_cut
    FROM gate g
    JOIN lane l ON l.tid = g.tid AND g.take > 0
    LEFT JOIN capped c ON c.tid = l.tid AND c.qid = l.qid
    CROSS JOIN LATERAL (
      SELECT r.ctid AS ct, r.sort_at, r.job_id, r.key_id, row_number() OVER (ORDER BY r.sort_at, r.job_id) AS n
      FROM jobqueue.ready r
      WHERE r.queue_id = l.qid AND r.type_id = l.typ AND r.tenant_id = l.tid AND r.band = l.band AND r.sort_at >= l.floor
        AND (r.start_by IS NULL OR r.start_by > clock_timestamp())
      ORDER BY r.sort_at, r.job_id
      LIMIT greatest(0, least(l.lim, g.take, c.room))) x),
  placed AS (
    SELECT d.*, row_number() OVER band_order AS n, sum(d.is_cut) OVER (band_order ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS cuts,
      CASE WHEN d.room IS NOT NULL THEN row_number() OVER (PARTITION BY d.tid, d.qid ORDER BY d.is_ordinary, d.virtual_at, d.job_id) END AS in_queue
    FROM due d
    WINDOW band_order AS (PARTITION BY d.tid, d.is_ordinary ORDER BY d.virtual_at, d.job_id)),
  chosen AS MATERIALIZED (   -- critical first as far as allowed, then the ordinary, then what is left of the critical
    SELECT z.ct, z.job_id, z.key_id, z.rank
    FROM (
      SELECT p.ct, p.job_id, p.key_id, p.take, row_number() OVER (
          PARTITION BY p.tid
          ORDER BY CASE WHEN p.is_ordinary THEN 1 WHEN p.n <= p.critical THEN 0 ELSE 2 END, p.virtual_at, p.job_id) AS rank
      FROM placed p
      WHERE coalesce(p.cuts, 0) = 0 AND (p.in_queue IS NULL OR p.in_queue <= p.room)) z
    WHERE z.rank <= z.take),
  keyed AS MATERIALIZED (    -- rows over their key's limit are parked, so a full key never blocks the head of its lane
    SELECT c.ct, coalesce(u.free, -1) AS free, row_number() OVER (PARTITION BY c.key_id ORDER BY c.rank, c.job_id) AS n
    FROM chosen c LEFT JOIN unnest(v_keys, v_keys_free) u(key_id, free) ON u.key_id = c.key_id
    WHERE v_has_keys AND c.key_id IS NOT NULL),
  taken AS (
    DELETE FROM jobqueue.ready r
    WHERE r.ctid = ANY (ARRAY(SELECT c.ct FROM chosen c WHERE c.key_id IS NULL UNION ALL SELECT k.ct FROM keyed k WHERE k.n <= k.free))
    RETURNING r.*),
  over AS (
    DELETE FROM jobqueue.ready r
    WHERE v_has_keys AND r.ctid = ANY (ARRAY(SELECT k.ct FROM keyed k WHERE k.free >= 0 AND k.n > k.free))
    RETURNING r.*),
  park AS (
    INSERT INTO jobqueue.parked (sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes, key_id, start_by)
    SELECT o.sort_at, o.job_id, o.queue_id, o.type_id, o.tenant_id, o.band, o.priority, o.attempt, o.attempts_max, o.crashes, o.key_id, o.start_by
    FROM over o),
  held AS MATERIALIZED (
    SELECT n.*, (v_secret || lpad(to_hex(n.claim_seq), 16, '0'))::uuid AS token
    FROM (
      SELECT t.*, nextval('jobqueue.claim_seq') AS claim_seq, j.timeout_s, j.tags, j.metadata, j.idempotency_key, j.correlation_id, j.traceparent, j.data
      FROM taken t CROSS JOIN LATERAL (
        SELECT x.timeout_s, x.tags, x.metadata, x.idempotency_key, x.correlation_id, x.traceparent, x.data
        FROM jobqueue.job x
        WHERE x.tenant_id = t.tenant_id AND x.type_id = t.type_id AND x.job_id = t.job_id
        OFFSET 0) j
      OFFSET 0) n),
  leased AS (
    INSERT INTO jobqueue.lease (job_id, token, claim_seq, claimed_at, expires_at, deadline_at, sort_at, start_by, claim_id, lease_s, key_id, queue_id, type_id,
      tenant_id, worker_id, band, priority, attempt, attempts_max, crashes)
    SELECT h.job_id, h.token, h.claim_seq, c.now, c.expires_at, CASE WHEN h.timeout_s IS NULL THEN c.deadline_at ELSE c.now + (h.timeout_s + p_grace_s) * interval '1 second' END,
      h.sort_at, h.start_by, p_claim_id, p_lease_s, h.key_id, h.queue_id, h.type_id,
      h.tenant_id, p_worker_id, h.band, h.priority, h.attempt + 1, h.attempts_max, h.crashes
    FROM held h CROSS JOIN (
      SELECT t.now, t.now + p_lease_s * interval '1 second' AS expires_at, t.now + (p_timeout_s + p_grace_s) * interval '1 second' AS deadline_at
      FROM (SELECT clock_timestamp() AS now OFFSET 0) t -- read after the snapshot that counted: planning may lie between
      OFFSET 0) c),
  per_lane AS MATERIALIZED ( -- what each row would repeat
    SELECT h.tenant_id AS tid, h.queue_id AS qid, h.type_id AS typ, h.band, count(*) AS n, max(h.sort_at) AS sort_at, min(h.claim_seq) AS low
    FROM held h
    GROUP BY 1, 2, 3, 4),
  spent AS (
    UPDATE jobqueue.tenant_queue s
    SET rate_tokens = c.tokens - (SELECT coalesce(sum(q.n), 0) FROM per_lane q WHERE q.tid = c.tid AND q.qid = c.qid), rated_at = clock_timestamp()
    FROM capped c
    WHERE c.tokens IS NOT NULL AND s.ctid = c.ct),
  counted AS (
    INSERT INTO jobqueue.tally (tenant_id, queue_id, status, n, entered)
    SELECT q.tid, q.qid, 'queued', -sum(q.n), 0 FROM per_lane q GROUP BY 1, 2)
  SELECT x.job_id, x.token, x.tenant_id, x.queue_id, x.type_id, x.band, x.attempt, x.attempts_max, x.crashes, x.key_id, x.timeout_s, x.tags, x.metadata,
    x.idempotency_key, x.correlation_id, x.traceparent, x.data, x.n, x.floor, x.low, x.seconds
  FROM (
    SELECT h.job_id, h.token, h.tenant_id, h.queue_id, h.type_id, h.band, (h.attempt + 1)::smallint AS attempt, h.attempts_max, h.crashes, h.key_id,
      h.timeout_s, h.tags, h.metadata, h.idempotency_key, h.correlation_id, h.traceparent, h.data, NULL::bigint AS n, NULL::timestamptz AS floor,
      NULL::bigint AS low, date_part('epoch', v_floor_max - h.sort_at) + 0.5 AS seconds, h.band & 3 > 0 AS is_ordinary, h.sort_at + (h.band & 3) * p_aging AS virtual_at
    FROM held h
    UNION ALL
    SELECT NULL, NULL, q.tid, q.qid, q.typ, q.band, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, q.n, least(q.sort_at, v_floor_max),
      CASE WHEN g.is_counted THEN least(coalesce(g.low, q.low), q.low) ELSE g.low_before END,
      (SELECT l.retry_base_s FROM lane l WHERE l.tid = q.tid AND l.qid = q.qid LIMIT 1), NULL, NULL
    FROM per_lane q JOIN gate g ON g.tid = q.tid
    UNION ALL
    SELECT NULL, NULL, f.tid, f.qid, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM (
      SELECT g.tid, 0 AS qid FROM gate g
      WHERE g.take < g.asked AND g.take <= (SELECT coalesce(sum(q.n), 0) FROM per_lane q WHERE q.tid = g.tid)
      UNION ALL
      SELECT c.tid, c.qid FROM capped c
      WHERE c.free <= c.room AND c.free <= (SELECT coalesce(sum(q.n), 0) FROM per_lane q WHERE q.tid = c.tid AND q.qid = c.qid)) f) x
  ORDER BY x.is_ordinary, x.virtual_at, x.job_id; -- nulls come last
  IF cardinality(v_gates) < cardinality(p_tenants) THEN
    RETURN QUERY
    SELECT NULL::uuid, NULL::uuid, u.tid, NULL::int, NULL::int, NULL::smallint, NULL::smallint, NULL::smallint, NULL::smallint, NULL::bigint, NULL::int,
      NULL::text[], NULL::json, NULL::text, NULL::text, NULL::text, NULL::json, NULL::bigint, NULL::timestamptz, NULL::bigint, NULL::double precision
    FROM unnest(p_tenants) u(tid)
    WHERE u.tid <> ALL (coalesce(v_gates, '{}'));
  END IF;
END $$;
