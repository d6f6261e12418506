-- The schema at head, as Postgres 18 tells it (scripts/schema_dump.py), without the weekly partitions.

CREATE SCHEMA jobqueue;

CREATE FUNCTION jobqueue.active_lanes_v1(p_tenant_id integer, p_queues integer[], p_types integer[], p_limit integer) RETURNS TABLE(queue_id integer, type_id integer, tenant_id integer, band smallint, weight integer)
    LANGUAGE sql STABLE
    SET jit TO 'off'
    SET enable_seqscan TO 'off'
    SET enable_sort TO 'off'
    AS $$
  WITH RECURSIVE
  seen(qid) AS (
    (SELECT r.queue_id FROM jobqueue.ready r WHERE p_queues IS NULL ORDER BY r.queue_id LIMIT 1)
    UNION ALL
    SELECT (SELECT r.queue_id FROM jobqueue.ready r WHERE r.queue_id > s.qid ORDER BY r.queue_id LIMIT 1)
    FROM seen s
    WHERE s.qid IS NOT NULL),
  queues(qid) AS (
    SELECT unnest(p_queues)
    UNION ALL
    SELECT s.qid FROM seen s WHERE s.qid IS NOT NULL),
  lanes(qid, typ, tid, band) AS (
    SELECT q.qid, t.typ, x.tenant_id, x.band
    FROM queues q CROSS JOIN unnest(p_types) t(typ) CROSS JOIN LATERAL (
      SELECT r.tenant_id, r.band
      FROM jobqueue.ready r
      WHERE r.queue_id = q.qid AND r.type_id = t.typ AND r.tenant_id >= coalesce(p_tenant_id, 0) AND r.tenant_id <= coalesce(p_tenant_id, 2147483647)
      ORDER BY r.tenant_id, r.band
      LIMIT 1) x
    UNION ALL
    SELECT l.qid, l.typ, x.tenant_id, x.band
    FROM lanes l CROSS JOIN LATERAL (
      SELECT r.tenant_id, r.band
      FROM jobqueue.ready r
      WHERE r.queue_id = l.qid AND r.type_id = l.typ AND (r.tenant_id, r.band) > (l.tid, l.band) AND r.tenant_id <= coalesce(p_tenant_id, 2147483647)
      ORDER BY r.tenant_id, r.band
      LIMIT 1) x)
  SELECT l.qid, l.typ, l.tid, l.band, g.weight::int
  FROM lanes l JOIN jobqueue.tenant g ON g.tenant_id = l.tid
  LIMIT p_limit
$$;

CREATE FUNCTION jobqueue.cancel_v1(p_tenant_id integer, p_job_id uuid, p_grace_s double precision, OUT verdict text, OUT status text) RETURNS record
    LANGUAGE plpgsql
    SET jit TO 'off'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    AS $$
BEGIN
  FOR round IN 1 .. 5 LOOP
    WITH
    r AS (DELETE FROM jobqueue.ready x WHERE x.tenant_id = p_tenant_id AND x.job_id = p_job_id RETURNING x.*),
    p AS (DELETE FROM jobqueue.parked x WHERE x.tenant_id = p_tenant_id AND x.job_id = p_job_id RETURNING x.*),
    s AS (DELETE FROM jobqueue.scheduled x WHERE x.tenant_id = p_tenant_id AND x.job_id = p_job_id RETURNING x.*),
    b AS (DELETE FROM jobqueue.blocked x WHERE x.tenant_id = p_tenant_id AND x.job_id = p_job_id RETURNING x.*),
    gone AS (
      SELECT sort_at, queue_id, type_id, band, priority, attempt, attempts_max, crashes, key_id, 'queued' AS was FROM r
      UNION ALL
      SELECT sort_at, queue_id, type_id, band, priority, attempt, attempts_max, crashes, key_id, 'queued' FROM p
      UNION ALL
      SELECT sort_at, queue_id, type_id, band, priority, attempt, attempts_max, crashes, key_id, CASE reason WHEN 'retry' THEN 'failed' ELSE 'scheduled' END FROM s
      UNION ALL
      SELECT sort_at, queue_id, type_id, band, priority, attempt, attempts_max, crashes, key_id, 'blocked' FROM b),
    ran AS (INSERT INTO jobqueue.outcome (tenant_id, job_id, state, attempt) SELECT p_tenant_id, p_job_id, 'cancelled', g.attempt FROM gone g),
    rest AS (
      INSERT INTO jobqueue.ended (sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes, key_id, status)
      SELECT g.sort_at, p_job_id, g.queue_id, g.type_id, p_tenant_id, g.band & 7, g.priority, g.attempt, g.attempts_max, g.crashes, g.key_id, 'cancelled' FROM gone g),
    counted AS (
      INSERT INTO jobqueue.tally (tenant_id, queue_id, status, n, entered)
      SELECT p_tenant_id, g.queue_id, u.status, u.n, greatest(u.n, 0)
      FROM gone g CROSS JOIN LATERAL (VALUES (g.was, -1), ('cancelled', 1)) u(status, n)),
    held AS MATERIALIZED (
      SELECT l.job_id, l.attempt, l.worker_id, l.cancel_requested_at, l.started_at, l.claimed_at, l.reported_at
      FROM jobqueue.lease l
      WHERE l.job_id = p_job_id AND l.tenant_id = p_tenant_id
      FOR UPDATE),
    asked AS (
      UPDATE jobqueue.lease l
      SET cancel_requested_at = clock_timestamp(), deadline_at = least(l.deadline_at, clock_timestamp() + p_grace_s * interval '1 second'),
        reported_at = coalesce(l.reported_at, clock_timestamp())
      FROM held h
      WHERE l.job_id = h.job_id AND h.cancel_requested_at IS NULL
      RETURNING h.attempt, h.worker_id, CASE WHEN h.reported_at IS NULL THEN h.claimed_at END AS leased_at,
        CASE WHEN h.started_at IS NULL THEN 'leased' ELSE 'running' END AS status),
    history AS (            -- that it was leased comes first, also when its holder has not told yet
      INSERT INTO jobqueue.event (tenant_id, job_id, type, attempt, worker_id, leased_at, data)
      SELECT p_tenant_id, p_job_id, 'cancelled', g.attempt, NULL::int, NULL::timestamptz, NULL::json FROM gone g
      UNION ALL
      SELECT p_tenant_id, p_job_id, 'cancel_requested', a.attempt, a.worker_id, a.leased_at, json_build_object('status', a.status) FROM asked a)
    SELECT x.verdict, x.status INTO verdict, status
    FROM (
      SELECT 'cancelled' AS verdict, 'cancelled' AS status FROM gone
      UNION ALL
      SELECT 'cancelling', CASE WHEN h.started_at IS NULL THEN 'leased' ELSE 'running' END FROM held h) x;
    IF FOUND THEN
      RETURN;
    END IF;
    status := jobqueue.status_v1(p_tenant_id, p_job_id);
    verdict := CASE WHEN status IS NULL THEN 'unknown' WHEN status = 'cancelled' THEN 'unchanged'
      WHEN status IN ('succeeded', 'dlq', 'expired') THEN 'finished' END;
    IF verdict IS NOT NULL THEN
      RETURN;
    END IF;
  END LOOP;
  RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'the job moved in every look'; -- the caller tries again
END $$;

CREATE FUNCTION jobqueue.claim_v1(p_worker_id integer, p_claim_id uuid, p_lease_s double precision, p_timeout_s integer, p_grace_s double precision, p_tenant_cap integer, p_aging interval, p_tenants integer[], p_takes integer[], p_criticals integer[], p_lows bigint[], p_lane_tenants integer[], p_lane_queues integer[], p_lane_types integer[], p_lane_bands smallint[], p_lane_floors timestamp with time zone[], p_lane_limits integer[]) RETURNS TABLE(job_id uuid, token uuid, tenant_id integer, queue_id integer, type_id integer, band smallint, attempt smallint, attempts_max smallint, crashes smallint, key_id bigint, timeout_s integer, tags text[], metadata json, idempotency_key text, correlation_id text, traceparent text, data json, n bigint, floor timestamp with time zone, low bigint, seconds double precision)
    LANGUAGE plpgsql
    SET jit TO 'off'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
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

CREATE FUNCTION jobqueue.draw_rate_v1(p_holder uuid, p_default integer, p_held_s double precision, p_tenants integer[], p_hands integer[], p_backs integer[], p_needs integer[], p_wants integer[]) RETURNS TABLE(tenant_id integer, per_minute integer, given integer, ahead integer, tokens double precision)
    LANGUAGE plpgsql
    SET jit TO 'off'
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
#variable_conflict use_column
DECLARE
  v_ask record;
  v_now timestamptz;
  v_tokens double precision;
  v_filled_at timestamptz;
  v_others int;
  v_is_kept boolean;
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  FOR v_ask IN
    SELECT u.tid, u.hand, u.back, u.need, u.want,
      nullif(coalesce(t.rate_per_minute, (SELECT p.rate_per_minute FROM jobqueue.plan p WHERE p.name = t.plan), p_default), 0) AS rate
    FROM unnest(p_tenants, p_hands, p_backs, p_needs, p_wants) u(tid, hand, back, need, want)
    LEFT JOIN jobqueue.tenant t ON t.tenant_id = u.tid
    ORDER BY u.tid
  LOOP
    tenant_id := v_ask.tid;
    per_minute := v_ask.rate;
    IF v_ask.rate IS NULL THEN
      given := v_ask.need;
      ahead := 0;
      tokens := 0;
      RETURN NEXT;
      CONTINUE;
    END IF;
    SELECT b.tokens, b.filled_at INTO v_tokens, v_filled_at FROM jobqueue.rate_bucket b WHERE b.tenant_id = v_ask.tid FOR NO KEY UPDATE;
    IF NOT FOUND THEN
      INSERT INTO jobqueue.rate_bucket AS b (tenant_id, tokens) VALUES (v_ask.tid, 2 * v_ask.rate)
      ON CONFLICT ON CONSTRAINT rate_bucket_pkey DO UPDATE SET filled_at = b.filled_at
      RETURNING b.tokens, b.filled_at INTO v_tokens, v_filled_at;
    END IF;
    v_now := clock_timestamp();  -- read under the lock, so buckets fill by each moment once
    SELECT coalesce(sum(l.held) FILTER (WHERE l.holder <> p_holder AND l.expires_at > v_now), 0), coalesce(bool_or(l.holder = p_holder OR l.expires_at <= v_now), false)
    INTO v_others, v_is_kept
    FROM jobqueue.rate_lease l
    WHERE l.tenant_id = v_ask.tid;
    v_tokens := greatest(0, least(
      2 * v_ask.rate - v_others - v_ask.hand,
      v_tokens + v_ask.back + v_ask.rate / 60.0 * greatest(0, extract(epoch FROM v_now - v_filled_at))));
    given := least(v_ask.need, floor(v_tokens + 1e-6)::int);
    v_tokens := greatest(0, v_tokens - given);
    ahead := least(
      v_ask.want, floor(v_tokens + 1e-6)::int,
      CASE WHEN v_tokens >= v_ask.rate THEN floor(v_tokens / 16)::int ELSE floor(v_ask.rate / 60.0 * 0.05)::int END - v_ask.hand);
    ahead := greatest(0, ahead);
    tokens := greatest(0, v_tokens - ahead);
    UPDATE jobqueue.rate_bucket b SET tokens = v_tokens - ahead, filled_at = v_now WHERE b.tenant_id = v_ask.tid;
    IF v_ask.hand + ahead > 0 THEN
      INSERT INTO jobqueue.rate_lease (tenant_id, holder, held, expires_at)
      VALUES (v_ask.tid, p_holder, v_ask.hand + ahead, v_now + p_held_s * interval '1 second')
      ON CONFLICT ON CONSTRAINT rate_lease_pkey DO UPDATE SET held = excluded.held, expires_at = excluded.expires_at;
    ELSIF v_is_kept THEN
      DELETE FROM jobqueue.rate_lease l WHERE l.tenant_id = v_ask.tid AND (l.holder = p_holder OR l.expires_at <= v_now);
    END IF;
    RETURN NEXT;
  END LOOP;
END $$;

CREATE FUNCTION jobqueue.drop_audit_month_v1(p_kept_s double precision, p_now timestamp with time zone) RETURNS text
    LANGUAGE plpgsql
    AS $_$
DECLARE
  v_before timestamptz := coalesce(p_now, clock_timestamp()) - p_kept_s * interval '1 second';
  v_name text;
BEGIN
  PERFORM set_config('lock_timeout', '200ms', true);
  SELECT m.name INTO v_name
  FROM (
    SELECT c.relname::text AS name, to_date(right(c.relname, 6), 'YYYYMM')::timestamp AT TIME ZONE 'UTC' AS starts
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'jobqueue.audit'::regclass AND c.relname ~ '^audit_\d{6}$') m
  WHERE (m.starts AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC' < v_before
  ORDER BY m.starts
  LIMIT 1;
  IF v_name IS NULL AND EXISTS (SELECT FROM jobqueue.audit_rest)
    AND NOT EXISTS (SELECT FROM jobqueue.audit_rest r WHERE r.audit_id >= jobqueue.id_at(v_before)) THEN
    v_name := 'audit_rest';
  END IF;
  IF v_name IS NULL THEN
    RETURN NULL;
  END IF;
  BEGIN
    EXECUTE format('DROP TABLE jobqueue.%I', v_name);
  EXCEPTION WHEN lock_not_available THEN
    RETURN NULL; -- next time
  END;
  PERFORM jobqueue.make_audit_partition_v1('audit_rest', 'DEFAULT');
  RETURN v_name;
END $_$;

CREATE FUNCTION jobqueue.drop_week_v1(p_kept_s double precision, p_now timestamp with time zone) RETURNS text
    LANGUAGE plpgsql
    AS $_$
DECLARE
  v_before timestamptz := coalesce(p_now, clock_timestamp()) - p_kept_s * interval '1 second';
  v_week record;
  v_is_needed boolean;
BEGIN
  PERFORM set_config('lock_timeout', '200ms', true);
  FOR v_week IN
    SELECT w.suffix, jobqueue.id_at(w.starts) AS low, jobqueue.id_at(w.starts + interval '7 days') AS high
    FROM (
      SELECT right(c.relname, 8) AS suffix, to_date(right(c.relname, 8), 'YYYYMMDD')::timestamp AT TIME ZONE 'UTC' AS starts
      FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
      WHERE i.inhparent = 'jobqueue.job'::regclass AND c.relname ~ '^job_\d{8}$') w
    WHERE w.starts + interval '7 days' < v_before
    ORDER BY w.starts
  LOOP
    FOR look IN 1 .. 2 LOOP
      EXECUTE format(
        'SELECT EXISTS (SELECT FROM jobqueue.ready WHERE job_id >= $1 AND job_id < $2)
          OR EXISTS (SELECT FROM jobqueue.parked WHERE job_id >= $1 AND job_id < $2)
          OR EXISTS (SELECT FROM jobqueue.scheduled WHERE job_id >= $1 AND job_id < $2)
          OR EXISTS (SELECT FROM jobqueue.blocked WHERE job_id >= $1 AND job_id < $2)
          OR EXISTS (SELECT FROM jobqueue.inbox WHERE job_id >= $1 AND job_id < $2)
          OR EXISTS (SELECT FROM jobqueue.lease WHERE job_id >= $1 AND job_id < $2)
          OR EXISTS (SELECT FROM jobqueue.%I WHERE finished_at >= $3)', 'outcome_' || v_week.suffix)
        INTO v_is_needed USING v_week.low, v_week.high, v_before;
      EXIT WHEN v_is_needed;
      IF look = 1 THEN
        BEGIN
          EXECUTE format('LOCK TABLE jobqueue.%I IN ACCESS EXCLUSIVE MODE', 'job_' || v_week.suffix);
        EXCEPTION WHEN lock_not_available THEN
          RETURN NULL; -- next time
        END;
      END IF;
    END LOOP;
    CONTINUE WHEN v_is_needed;
    BEGIN -- the drop also locks the parents, which somebody else may hold: then nothing of this happened
      EXECUTE format(
        'INSERT INTO jobqueue.tally (tenant_id, queue_id, status, n, entered)
         SELECT j.tenant_id, j.queue_id, coalesce(e.status, ''succeeded''), -count(*), 0
         FROM jobqueue.%I j LEFT JOIN jobqueue.ended e ON e.tenant_id = j.tenant_id AND e.job_id = j.job_id
         GROUP BY 1, 2, 3', 'job_' || v_week.suffix);
      DELETE FROM jobqueue.ended e WHERE e.job_id >= v_week.low AND e.job_id < v_week.high;
      EXECUTE format(
        'INSERT INTO jobqueue.forgotten (seq)
         SELECT max(e.seq) FROM jobqueue.%I e HAVING max(e.seq) IS NOT NULL
         ON CONFLICT (is_it) DO UPDATE SET seq = greatest(forgotten.seq, excluded.seq)', 'event_' || v_week.suffix);
      EXECUTE format('DROP TABLE jobqueue.%I, jobqueue.%I, jobqueue.%I', 'event_' || v_week.suffix, 'outcome_' || v_week.suffix, 'job_' || v_week.suffix);
    EXCEPTION WHEN lock_not_available THEN
      RETURN NULL; -- next time
    END;
    RETURN v_week.suffix;
  END LOOP;
  RETURN NULL;
END $_$;

CREATE FUNCTION jobqueue.expire_v1(p_limit integer, p_now timestamp with time zone) RETURNS TABLE(tenant text, jobs bigint)
    LANGUAGE plpgsql
    SET jit TO 'off'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    AS $$
DECLARE
  v_now timestamptz := coalesce(p_now, clock_timestamp());
BEGIN
  RETURN QUERY
  WITH
  r AS (DELETE FROM jobqueue.ready x WHERE x.ctid = ANY (ARRAY(
    SELECT y.ctid FROM jobqueue.ready y WHERE y.start_by <= v_now LIMIT p_limit FOR UPDATE SKIP LOCKED)) RETURNING x.*),
  p AS (DELETE FROM jobqueue.parked x WHERE x.ctid = ANY (ARRAY(
    SELECT y.ctid FROM jobqueue.parked y WHERE y.start_by <= v_now LIMIT p_limit FOR UPDATE SKIP LOCKED)) RETURNING x.*),
  s AS (DELETE FROM jobqueue.scheduled x WHERE x.ctid = ANY (ARRAY(
    SELECT y.ctid FROM jobqueue.scheduled y WHERE y.start_by <= v_now LIMIT p_limit FOR UPDATE SKIP LOCKED)) RETURNING x.*),
  b AS (DELETE FROM jobqueue.blocked x WHERE x.ctid = ANY (ARRAY(
    SELECT y.ctid FROM jobqueue.blocked y WHERE y.start_by <= v_now LIMIT p_limit FOR UPDATE SKIP LOCKED)) RETURNING x.*),
  gone AS (
    SELECT sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes, key_id, 'queued' AS was FROM r
    UNION ALL
    SELECT sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes, key_id, 'queued' FROM p
    UNION ALL
    SELECT sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes, key_id, 'scheduled' FROM s
    UNION ALL
    SELECT sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes, key_id, 'blocked' FROM b),
  ran AS (INSERT INTO jobqueue.outcome (tenant_id, job_id, state, attempt) SELECT g.tenant_id, g.job_id, 'expired', g.attempt FROM gone g),
  rest AS (
    INSERT INTO jobqueue.ended (sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes, key_id, status)
    SELECT g.sort_at, g.job_id, g.queue_id, g.type_id, g.tenant_id, g.band & 7, g.priority, g.attempt, g.attempts_max, g.crashes, g.key_id, 'expired' FROM gone g),
  history AS (INSERT INTO jobqueue.event (tenant_id, job_id, type, attempt) SELECT g.tenant_id, g.job_id, 'expired', g.attempt FROM gone g),
  counted AS (
    INSERT INTO jobqueue.tally (tenant_id, queue_id, status, n, entered)
    SELECT g.tenant_id, g.queue_id, u.status, u.sign * count(*), greatest(u.sign * count(*), 0)
    FROM gone g CROSS JOIN LATERAL (VALUES (g.was, -1), ('expired', 1)) u(status, sign)
    GROUP BY g.tenant_id, g.queue_id, u.status, u.sign)
  SELECT t.name, count(*) FROM gone g JOIN jobqueue.tenant t ON t.tenant_id = g.tenant_id GROUP BY t.name;
END $$;

CREATE FUNCTION jobqueue.fold_tally_v1(p_limit integer) RETURNS bigint
    LANGUAGE sql
    AS $$
  WITH
  crowded AS (
    SELECT t.tenant_id, t.queue_id, t.status
    FROM jobqueue.tally t
    GROUP BY 1, 2, 3
    HAVING count(*) > 1),
  gone AS (
    DELETE FROM jobqueue.tally t
    WHERE t.ctid = ANY (ARRAY(
      SELECT x.ctid
      FROM jobqueue.tally x JOIN crowded c ON c.tenant_id = x.tenant_id AND c.queue_id = x.queue_id AND c.status = x.status
      ORDER BY x.tenant_id, x.queue_id, x.status -- whole groups, or a small limit would fold nothing
      LIMIT p_limit
      FOR UPDATE OF x SKIP LOCKED))
    RETURNING t.*),
  kept AS (
    INSERT INTO jobqueue.tally (tenant_id, queue_id, status, n, entered, ran_s)
    SELECT g.tenant_id, g.queue_id, g.status, sum(g.n), sum(g.entered), sum(g.ran_s)
    FROM gone g
    GROUP BY 1, 2, 3
    HAVING sum(g.n) <> 0 OR sum(g.entered) <> 0)
  SELECT count(*) FROM gone
$$;

CREATE FUNCTION jobqueue.force_success_v1(p_tenant_id integer, p_job_id uuid, p_result json, p_note json, OUT verdict text, OUT status text) RETURNS record
    LANGUAGE plpgsql
    AS $$
BEGIN
  FOR round IN 1 .. 5 LOOP
    WITH
    e AS (
      DELETE FROM jobqueue.ended x
      WHERE x.tenant_id = p_tenant_id AND x.job_id = p_job_id AND x.status = 'dlq'
      RETURNING x.queue_id, x.attempt),
    s AS (
      DELETE FROM jobqueue.scheduled x
      WHERE x.tenant_id = p_tenant_id AND x.job_id = p_job_id AND x.reason = 'retry'
      RETURNING x.queue_id, x.attempt),
    gone AS (
      SELECT queue_id, attempt, 'dlq' AS was FROM e
      UNION ALL
      SELECT queue_id, attempt, 'failed' FROM s),
    ran AS (INSERT INTO jobqueue.outcome (tenant_id, job_id, state, attempt, result) SELECT p_tenant_id, p_job_id, 'succeeded', g.attempt, p_result FROM gone g),
    history AS (INSERT INTO jobqueue.event (tenant_id, job_id, type, attempt, data) SELECT p_tenant_id, p_job_id, 'force_succeeded', g.attempt, p_note FROM gone g),
    counted AS (
      INSERT INTO jobqueue.tally (tenant_id, queue_id, status, n, entered)
      SELECT p_tenant_id, g.queue_id, u.status, u.n, greatest(u.n, 0)
      FROM gone g CROSS JOIN LATERAL (VALUES (g.was, -1), ('succeeded', 1)) u(status, n))
    SELECT 'succeeded', 'succeeded' INTO verdict, status FROM gone;
    IF FOUND THEN
      RETURN;
    END IF;
    status := jobqueue.status_v1(p_tenant_id, p_job_id);
    verdict := CASE WHEN status IS NULL THEN 'unknown' WHEN status NOT IN ('dlq', 'failed') THEN 'wrong_state' END;
    IF verdict IS NOT NULL THEN
      RETURN;
    END IF;
  END LOOP;
  RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'the job moved in every look'; -- the caller tries again
END $$;

CREATE FUNCTION jobqueue.heartbeat_v1(p_tenant_id integer, p_ids uuid[], p_tokens uuid[], p_started_ago_s double precision[], p_progress double precision[], p_messages text[]) RETURNS TABLE(job_id uuid, token uuid, status text, expires_at timestamp with time zone)
    LANGUAGE plpgsql
    SET jit TO 'off'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH
  told AS MATERIALIZED (
    SELECT u.*
    FROM unnest(p_ids, p_tokens, p_started_ago_s, p_progress, p_messages) u(id, tok, started_ago_s, progress, message)
    ORDER BY u.id),
  held AS MATERIALIZED (
    SELECT l.job_id, l.tenant_id, l.worker_id, l.attempt, l.claimed_at, l.reported_at, l.started_at, t.message,
      CASE WHEN t.progress IS NOT NULL THEN least(100, greatest(0, t.progress)) END AS progress, -- one bad value must not cost a batch its leases
      CASE WHEN t.started_ago_s IS NOT NULL THEN greatest(l.claimed_at, clock_timestamp() - t.started_ago_s * interval '1 second') END AS began_at
    FROM told t JOIN jobqueue.lease l ON l.job_id = t.id AND l.token = t.tok AND (p_tenant_id IS NULL OR l.tenant_id = p_tenant_id)
    FOR UPDATE OF l SKIP LOCKED),
  renewed AS (
    UPDATE jobqueue.lease l
    SET expires_at = clock_timestamp() + l.lease_s * interval '1 second', reported_at = coalesce(h.reported_at, clock_timestamp()),
      started_at = coalesce(h.started_at, h.began_at), progress = coalesce(h.progress, l.progress), progress_message = coalesce(h.message, l.progress_message)
    FROM held h
    WHERE l.job_id = h.job_id
    RETURNING l.job_id, l.token, l.expires_at, l.cancel_requested_at),
  history AS (
    INSERT INTO jobqueue.event (tenant_id, job_id, type, at, leased_at, worker_id, attempt)
    SELECT h.tenant_id, h.job_id, CASE WHEN h.began_at IS NULL THEN 'leased' ELSE 'started' END, coalesce(h.began_at, h.claimed_at),
      CASE WHEN h.reported_at IS NULL AND h.began_at IS NOT NULL THEN h.claimed_at END, h.worker_id, h.attempt
    FROM held h
    WHERE (h.started_at IS NULL AND h.began_at IS NOT NULL) OR h.reported_at IS NULL)
  SELECT t.id, t.tok,
    CASE WHEN r.cancel_requested_at IS NOT NULL THEN 'cancel_requested'
      WHEN r.job_id IS NOT NULL THEN 'ok'
      WHEN EXISTS (SELECT FROM jobqueue.lease l WHERE l.job_id = t.id AND l.token = t.tok
        AND (p_tenant_id IS NULL OR l.tenant_id = p_tenant_id)) THEN 'busy'
      ELSE 'lost' END,
    r.expires_at
  FROM told t LEFT JOIN renewed r ON r.job_id = t.id AND r.token = t.tok;
END $$;

CREATE FUNCTION jobqueue.id_at(p_at timestamp with time zone) RETURNS uuid
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT (lpad(to_hex((extract(epoch FROM p_at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid $$;

CREATE FUNCTION jobqueue.id_time(p_id uuid) RETURNS timestamp with time zone
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT to_timestamp(('x' || left(replace(p_id::text, '-', ''), 12))::bit(48)::bigint / 1000.0) $$;

CREATE FUNCTION jobqueue.lost_v1(p_limit integer, p_resumed_for_s double precision, p_now timestamp with time zone) RETURNS TABLE(job_id uuid, token uuid, tenant_id integer, attempt smallint, attempts_max smallint, crashes smallint, key_id bigint, worker_id integer, ran_s double precision, is_overdue boolean)
    LANGUAGE plpgsql
    AS $$
#variable_conflict use_column
DECLARE
  v_now timestamptz := coalesce(p_now, clock_timestamp());
  v_server_up_s double precision := extract(epoch FROM clock_timestamp() - pg_postmaster_start_time());
  -- set back to before its own start, the clock says nothing of how long the server is up; the caller starts over at a step, that must do
  v_up_s double precision := least(p_resumed_for_s, CASE WHEN v_server_up_s >= 0 THEN v_server_up_s END);
  v_keys bigint[];
BEGIN
  SELECT array_agg(DISTINCT x.key_id) INTO v_keys
  FROM (
    SELECT l.key_id
    FROM jobqueue.lease l
    WHERE (l.expires_at < v_now OR l.deadline_at < v_now) AND l.lease_s <= v_up_s AND l.key_id IS NOT NULL
    LIMIT p_limit) x;
  IF v_keys IS NOT NULL THEN
    PERFORM FROM jobqueue.concurrency_key k WHERE k.key_id = ANY (v_keys) ORDER BY k.key_id FOR NO KEY UPDATE;
  END IF;
  RETURN QUERY
  SELECT l.job_id, l.token, l.tenant_id, l.attempt, l.attempts_max, l.crashes, l.key_id, l.worker_id,
    extract(epoch FROM v_now - l.started_at)::double precision, l.expires_at >= v_now
  FROM jobqueue.lease l
  WHERE (l.expires_at < v_now OR l.deadline_at < v_now) AND l.lease_s <= v_up_s AND (l.key_id IS NULL OR l.key_id = ANY (v_keys))
  ORDER BY l.job_id
  LIMIT p_limit
  FOR UPDATE SKIP LOCKED;
END $$;

CREATE FUNCTION jobqueue.make_audit_months_v1(p_from timestamp with time zone, p_months integer) RETURNS integer
    LANGUAGE plpgsql
    AS $$
DECLARE
  month timestamptz;
  made int := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('jobqueue.audit_months'));
  PERFORM jobqueue.make_audit_partition_v1('audit_rest', 'DEFAULT');
  FOR i IN 0 .. p_months - 1 LOOP
    month := (date_trunc('month', p_from AT TIME ZONE 'UTC') + i * interval '1 month') AT TIME ZONE 'UTC';
    BEGIN
      made := made + jobqueue.make_audit_partition_v1(to_char(month AT TIME ZONE 'UTC', '"audit_"YYYYMM'),
        format('FOR VALUES FROM (%L) TO (%L)', jobqueue.id_at(month),
          jobqueue.id_at((month AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC')))::int;
    EXCEPTION WHEN check_violation THEN
      RAISE WARNING 'the default partition of jobqueue.audit holds rows of the month of %', month;
    END;
  END LOOP;
  RETURN made;
END $$;

CREATE FUNCTION jobqueue.make_audit_partition_v1(p_name text, p_bounds text) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
BEGIN
  IF to_regclass(format('jobqueue.%I', p_name)) IS NOT NULL THEN
    RETURN false;
  END IF;
  EXECUTE format('CREATE TABLE jobqueue.%I PARTITION OF jobqueue.audit %s', p_name, p_bounds);
  EXECUTE format('CREATE TRIGGER insert_only_truncate BEFORE TRUNCATE ON jobqueue.%I FOR EACH STATEMENT EXECUTE FUNCTION jobqueue.refuse_change_v1()', p_name);
  RETURN true;
END $$;

CREATE FUNCTION jobqueue.make_partitions_v1(p_from timestamp with time zone, p_weeks integer) RETURNS integer
    LANGUAGE plpgsql
    AS $$
DECLARE
  parent text;
  week timestamptz;
  made int := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('jobqueue.partitions'));
  FOREACH parent IN ARRAY ARRAY['job', 'outcome', 'event'] LOOP
    FOR i IN 0 .. p_weeks - 1 LOOP
      week := date_trunc('week', p_from AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' + i * interval '7 days';
      CONTINUE WHEN to_regclass(format('jobqueue.%I', parent || to_char(week AT TIME ZONE 'UTC', '_YYYYMMDD'))) IS NOT NULL;
      BEGIN
        EXECUTE format('CREATE TABLE jobqueue.%I PARTITION OF jobqueue.%I FOR VALUES FROM (%L) TO (%L)',
          parent || to_char(week AT TIME ZONE 'UTC', '_YYYYMMDD'), parent, jobqueue.id_at(week), jobqueue.id_at(week + interval '7 days'));
        made := made + 1;
      EXCEPTION WHEN check_violation THEN
        RAISE WARNING 'the default partition of jobqueue.% holds rows of the week of %', parent, week;
      END;
    END LOOP;
  END LOOP;
  RETURN made;
END $$;

CREATE FUNCTION jobqueue.new_id() RETURNS uuid
    LANGUAGE sql PARALLEL SAFE
    AS $$ SELECT uuidv7() $$;

CREATE FUNCTION jobqueue.oldest_due_v1(p_lanes_max integer) RETURNS TABLE(queue_id integer, due_at timestamp with time zone)
    LANGUAGE sql STABLE
    SET jit TO 'off'
    SET enable_seqscan TO 'off'
    SET enable_sort TO 'off'
    AS $$
  WITH RECURSIVE lanes AS (
    (SELECT r.queue_id, r.type_id, r.tenant_id, r.band, r.sort_at
    FROM jobqueue.ready r
    ORDER BY r.queue_id, r.type_id, r.tenant_id, r.band, r.sort_at
    LIMIT 1)
    UNION ALL
    SELECT x.queue_id, x.type_id, x.tenant_id, x.band, x.sort_at
    FROM lanes l CROSS JOIN LATERAL (
      SELECT r.queue_id, r.type_id, r.tenant_id, r.band, r.sort_at
      FROM jobqueue.ready r
      WHERE (r.queue_id, r.type_id, r.tenant_id, r.band) > (l.queue_id, l.type_id, l.tenant_id, l.band)
      ORDER BY r.queue_id, r.type_id, r.tenant_id, r.band, r.sort_at
      LIMIT 1) x),
  walked AS (
    SELECT l.queue_id, l.sort_at
    FROM lanes l
    LIMIT p_lanes_max)
  SELECT w.queue_id, min(w.sort_at) FROM walked w GROUP BY w.queue_id
$$;

CREATE FUNCTION jobqueue.oldest_ready_v1(p_tenant_id integer, p_queue_id integer) RETURNS timestamp with time zone
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET jit TO 'off'
    SET enable_seqscan TO 'off'
    SET enable_sort TO 'off'
    AS $$
  WITH RECURSIVE types(typ) AS (
    (SELECT r.type_id FROM jobqueue.ready r WHERE r.queue_id = p_queue_id ORDER BY r.type_id LIMIT 1)
    UNION ALL
    SELECT (SELECT r.type_id FROM jobqueue.ready r WHERE r.queue_id = p_queue_id AND r.type_id > t.typ ORDER BY r.type_id LIMIT 1)
    FROM types t
    WHERE t.typ IS NOT NULL)
  SELECT min(x.sort_at)
  FROM types t CROSS JOIN generate_series(0, 15) b(band) CROSS JOIN LATERAL (
    SELECT r.sort_at
    FROM jobqueue.ready r
    WHERE r.queue_id = p_queue_id AND r.type_id = t.typ AND r.tenant_id = p_tenant_id AND r.band = b.band
    ORDER BY r.sort_at
    LIMIT 1) x
  WHERE t.typ IS NOT NULL
$$;

CREATE FUNCTION jobqueue.patch_v1(p_tenant_id integer, p_job_id uuid, p_priority smallint, p_attempts_max smallint, p_is_timed boolean, p_run_at timestamp with time zone, OUT verdict text, OUT status text) RETURNS record
    LANGUAGE plpgsql
    AS $$
DECLARE
  v_moved record;
  v_following text;
BEGIN
  PERFORM FROM jobqueue.job j WHERE j.tenant_id = p_tenant_id AND j.job_id = p_job_id FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    verdict := 'unknown';
    RETURN;
  END IF;
  FOR round IN 1 .. 5 LOOP
    status := jobqueue.status_v1(p_tenant_id, p_job_id);
    IF status NOT IN ('queued', 'scheduled', 'failed', 'blocked') THEN
      verdict := 'wrong_state';
      RETURN;
    END IF;
    WITH
    r AS (DELETE FROM jobqueue.ready x WHERE x.tenant_id = p_tenant_id AND x.job_id = p_job_id AND x.attempt < coalesce(p_attempts_max, x.attempts_max) RETURNING x.*),
    p AS (DELETE FROM jobqueue.parked x WHERE x.tenant_id = p_tenant_id AND x.job_id = p_job_id AND x.attempt < coalesce(p_attempts_max, x.attempts_max) RETURNING x.*),
    s AS (DELETE FROM jobqueue.scheduled x WHERE x.tenant_id = p_tenant_id AND x.job_id = p_job_id AND x.attempt < coalesce(p_attempts_max, x.attempts_max) RETURNING x.*),
    b AS (DELETE FROM jobqueue.blocked x WHERE x.tenant_id = p_tenant_id AND x.job_id = p_job_id AND x.attempt < coalesce(p_attempts_max, x.attempts_max) RETURNING x.*)
    SELECT * INTO v_moved FROM (
      SELECT sort_at, queue_id, type_id, band, priority, attempt, attempts_max, crashes, key_id, start_by, 'queued' AS was, NULL::timestamptz AS run_at, NULL AS reason, NULL::int AS waits_for FROM r
      UNION ALL
      SELECT sort_at, queue_id, type_id, band, priority, attempt, attempts_max, crashes, key_id, start_by, 'queued', NULL, NULL, NULL FROM p
      UNION ALL
      SELECT sort_at, queue_id, type_id, band, priority, attempt, attempts_max, crashes, key_id, start_by, CASE reason WHEN 'retry' THEN 'failed' ELSE 'scheduled' END, run_at, reason, NULL FROM s
      UNION ALL
      SELECT sort_at, queue_id, type_id, band, priority, attempt, attempts_max, crashes, key_id, start_by, 'blocked', NULL, NULL, waits_for FROM b) x;
    EXIT WHEN FOUND;
    -- a row that passes was moved between the two snapshots; the next round finds it
    IF EXISTS (
      SELECT FROM jobqueue.ready x WHERE x.tenant_id = p_tenant_id AND x.job_id = p_job_id AND x.attempt >= p_attempts_max
      UNION ALL
      SELECT FROM jobqueue.parked x WHERE x.tenant_id = p_tenant_id AND x.job_id = p_job_id AND x.attempt >= p_attempts_max
      UNION ALL
      SELECT FROM jobqueue.scheduled x WHERE x.tenant_id = p_tenant_id AND x.job_id = p_job_id AND x.attempt >= p_attempts_max
      UNION ALL
      SELECT FROM jobqueue.blocked x WHERE x.tenant_id = p_tenant_id AND x.job_id = p_job_id AND x.attempt >= p_attempts_max) THEN
      verdict := 'exhausted';
      RETURN;
    END IF;
  END LOOP;
  IF v_moved IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'the job moved in every look'; -- the caller tries again
  END IF;

  v_moved.priority := coalesce(p_priority, v_moved.priority);
  v_moved.band := v_moved.priority | (v_moved.band & 12);
  v_moved.attempts_max := coalesce(p_attempts_max, v_moved.attempts_max);
  IF p_is_timed AND v_moved.was <> 'blocked' THEN
    v_moved.run_at := CASE WHEN p_run_at > clock_timestamp() THEN p_run_at END;
    v_moved.reason := CASE WHEN v_moved.was = 'failed' THEN 'retry' ELSE 'asked' END;
  END IF;
  v_following := CASE WHEN v_moved.was = 'blocked' THEN 'blocked' WHEN v_moved.run_at IS NULL THEN 'queued' WHEN v_moved.was = 'failed' THEN 'failed' ELSE 'scheduled' END;
  IF v_following = 'blocked' THEN
    INSERT INTO jobqueue.blocked (sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes, key_id, start_by, waits_for)
    VALUES (v_moved.sort_at, p_job_id, v_moved.queue_id, v_moved.type_id, p_tenant_id, v_moved.band, v_moved.priority, v_moved.attempt, v_moved.attempts_max,
      v_moved.crashes, v_moved.key_id, v_moved.start_by, v_moved.waits_for);
  ELSIF v_following = 'queued' THEN -- its old age in a lane it was not in before: no floor may hide it
    INSERT INTO jobqueue.ready (sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes, key_id, start_by)
    VALUES (CASE WHEN v_moved.was = 'queued' THEN v_moved.sort_at ELSE clock_timestamp() END, p_job_id, v_moved.queue_id, v_moved.type_id, p_tenant_id,
      v_moved.band | 8, v_moved.priority, v_moved.attempt, v_moved.attempts_max, v_moved.crashes, v_moved.key_id, v_moved.start_by);
  ELSE
    INSERT INTO jobqueue.scheduled (sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes, key_id, start_by, run_at, reason)
    VALUES (v_moved.run_at, p_job_id, v_moved.queue_id, v_moved.type_id, p_tenant_id, v_moved.band & 7, v_moved.priority, v_moved.attempt, v_moved.attempts_max,
      v_moved.crashes, v_moved.key_id, v_moved.start_by, v_moved.run_at, v_moved.reason);
  END IF;
  UPDATE jobqueue.job j
  SET priority = v_moved.priority, max_attempts = v_moved.attempts_max,
    scheduled_at = CASE WHEN p_is_timed AND v_moved.was <> 'blocked' THEN v_moved.run_at ELSE j.scheduled_at END
  WHERE j.tenant_id = p_tenant_id AND j.job_id = p_job_id;
  INSERT INTO jobqueue.event (tenant_id, job_id, type, then_type, attempt, data)
  VALUES (p_tenant_id, p_job_id, 'updated', CASE WHEN v_following = 'queued' AND v_moved.was <> 'queued' THEN 'queued' END, v_moved.attempt,
    json_build_object('status', v_following));
  IF v_following <> v_moved.was THEN
    INSERT INTO jobqueue.tally (tenant_id, queue_id, status, n, entered)
    VALUES (p_tenant_id, v_moved.queue_id, v_moved.was, -1, 0), (p_tenant_id, v_moved.queue_id, v_following, 1, 1);
  END IF;
  verdict := 'updated';
  status := v_following;
END $$;

CREATE FUNCTION jobqueue.promote_v1(p_limit integer, p_now timestamp with time zone) RETURNS TABLE(queue_id integer, type_id integer, tenant_id integer, band smallint, jobs bigint)
    LANGUAGE plpgsql
    SET jit TO 'off'
    SET enable_seqscan TO 'off'
    AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH
  due AS MATERIALIZED (
    SELECT s.ctid AS ct
    FROM jobqueue.scheduled s
    WHERE s.run_at <= coalesce(p_now, clock_timestamp())
    ORDER BY s.run_at
    LIMIT p_limit
    FOR UPDATE SKIP LOCKED),
  gone AS (DELETE FROM jobqueue.scheduled s WHERE s.ctid = ANY (ARRAY(SELECT d.ct FROM due d)) RETURNING s.*),
  placed AS (
    INSERT INTO jobqueue.ready (sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes, key_id, start_by)
    SELECT clock_timestamp(), g.job_id, g.queue_id, g.type_id, g.tenant_id, g.band, g.priority, g.attempt, g.attempts_max, g.crashes, g.key_id, g.start_by
    FROM gone g),
  history AS (INSERT INTO jobqueue.event (tenant_id, job_id, type, attempt) SELECT g.tenant_id, g.job_id, 'queued', g.attempt FROM gone g),
  counted AS (
    INSERT INTO jobqueue.tally (tenant_id, queue_id, status, n, entered)
    SELECT g.tenant_id, g.queue_id, u.status, u.sign * count(*), greatest(u.sign * count(*), 0)
    FROM gone g CROSS JOIN LATERAL (VALUES (CASE g.reason WHEN 'retry' THEN 'failed' ELSE 'scheduled' END, -1), ('queued', 1)) u(status, sign)
    GROUP BY g.tenant_id, g.queue_id, u.status, u.sign)
  SELECT g.queue_id, g.type_id, g.tenant_id, g.band, count(*) FROM gone g GROUP BY 1, 2, 3, 4;
END $$;

CREATE FUNCTION jobqueue.raise_wall_v1() RETURNS text
    LANGUAGE plpgsql
    AS $$
DECLARE
  v_table record;
  v_own constant text := 'tenant_id = (SELECT nullif(current_setting(''jobqueue.tenant_id'', true), '''')::int)';
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = 'jobqueue_tenant') THEN
    BEGIN
      CREATE ROLE jobqueue_tenant NOLOGIN NOINHERIT;
    EXCEPTION
      WHEN duplicate_object OR unique_violation THEN
        NULL; -- made by another database's migration
      WHEN insufficient_privilege THEN
        RETURN format('the role jobqueue_tenant is missing and %I may not make roles: as a superuser run '
          'CREATE ROLE jobqueue_tenant NOLOGIN NOINHERIT; GRANT jobqueue_tenant TO %I; and migrate again', current_user, current_user);
    END;
  END IF;
  BEGIN
    PERFORM set_config('role', 'jobqueue_tenant', true), set_config('role', 'none', true);
  EXCEPTION WHEN insufficient_privilege THEN
    BEGIN
      EXECUTE format('GRANT jobqueue_tenant TO %I', current_user);
    EXCEPTION WHEN insufficient_privilege THEN
      RETURN format('%I is no member of the role jobqueue_tenant: as a superuser run GRANT jobqueue_tenant TO %I; and migrate again', current_user, current_user);
    END;
  END;
  GRANT USAGE ON SCHEMA jobqueue TO jobqueue_tenant;
  GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA jobqueue TO jobqueue_tenant;
  FOR v_table IN
    SELECT c.oid::regclass::text AS name, a.attname IS NOT NULL AS has_tenant, a.attnotnull AS is_always, c.relrowsecurity AS is_bound,
      has_table_privilege('jobqueue_tenant', c.oid, 'SELECT') AS is_granted,
      EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'insert_only') AS is_insert_only
    FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
    WHERE c.relnamespace = 'jobqueue'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    ORDER BY c.relname
  LOOP
    IF NOT v_table.has_tenant THEN
      CONTINUE WHEN v_table.is_granted;
      EXECUTE 'GRANT SELECT ON ' || v_table.name || ' TO jobqueue_tenant';
      CONTINUE;
    END IF;
    CONTINUE WHEN v_table.is_bound AND v_table.is_granted;
    EXECUTE 'ALTER TABLE ' || v_table.name || ' ENABLE ROW LEVEL SECURITY';
    EXECUTE 'DROP POLICY IF EXISTS one_tenant ON ' || v_table.name;
    EXECUTE 'CREATE POLICY one_tenant ON ' || v_table.name || ' TO jobqueue_tenant USING ('
      || CASE WHEN v_table.is_always THEN '' ELSE 'tenant_id IS NULL OR ' END || v_own || ') WITH CHECK (' || v_own || ')';
    EXECUTE CASE WHEN v_table.is_insert_only THEN 'GRANT SELECT, INSERT ON ' ELSE 'GRANT SELECT, INSERT, UPDATE, DELETE ON ' END
      || v_table.name || ' TO jobqueue_tenant';
  END LOOP;
  RETURN NULL;
END $$;

CREATE FUNCTION jobqueue.read_jobs_v1(p_tenant_id integer, p_job_ids uuid[], p_tenant_cap integer, p_worker_alive_s double precision, p_has_data boolean, p_has_result boolean) RETURNS TABLE(job_id uuid, queue text, job_type text, status text, priority smallint, attempt smallint, max_attempts smallint, progress double precision, progress_message text, waiting_reason text, concurrency_key text, tags text[], metadata json, idempotency_key text, correlation_id text, traceparent text, scheduled_at timestamp with time zone, started_at timestamp with time zone, finished_at timestamp with time zone, lease_owner text, lease_expires_at timestamp with time zone, error json, result_ref text, result json, data json)
    LANGUAGE plpgsql STABLE
    SET jit TO 'off'
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT
    j.job_id,
    q.name AS queue,
    y.name AS job_type,
    x.status,
    j.priority,
    coalesce(l.attempt, r.attempt, p.attempt, s.attempt, b.attempt, e.attempt, o.attempt, 0::smallint) AS attempt,
    j.max_attempts,
    CASE WHEN x.status = 'succeeded' THEN 100::double precision ELSE l.progress END AS progress,
    l.progress_message,
    CASE WHEN x.status <> 'queued' THEN NULL
      WHEN g.is_paused THEN 'paused'
      WHEN NOT EXISTS (
        SELECT
        FROM jobqueue.worker w
        WHERE w.last_heartbeat_at > clock_timestamp() - p_worker_alive_s * interval '1 second'
          AND w.state = 'running' AND (w.tenant_id IS NULL OR w.tenant_id = j.tenant_id)
          AND y.name = ANY (w.job_types) AND (q.name = ANY (w.queues) OR '*' = ANY (w.queues))) THEN 'no_worker'
      WHEN p.job_id IS NOT NULL
        OR (SELECT count(*) FROM jobqueue.lease h WHERE h.tenant_id = p_tenant_id) >= nullif(coalesce(t.max_concurrent, n.max_concurrent, p_tenant_cap), 0)
        OR (g.max_concurrent > 0
          AND (SELECT count(*) FROM jobqueue.lease h WHERE h.tenant_id = j.tenant_id AND h.queue_id = j.queue_id) >= g.max_concurrent)
        THEN 'throttled'
    END AS waiting_reason,
    k.name AS concurrency_key,
    j.tags,
    j.metadata,
    j.idempotency_key,
    j.correlation_id,
    j.traceparent,
    coalesce(s.run_at, j.scheduled_at) AS scheduled_at,
    coalesce(l.started_at, o.started_at) AS started_at,
    CASE WHEN x.status IN ('succeeded', 'dlq', 'cancelled', 'expired') THEN o.finished_at END AS finished_at,
    w.name AS lease_owner,
    l.expires_at AS lease_expires_at,
    CASE WHEN x.status <> 'succeeded' THEN o.error END AS error,
    CASE WHEN x.status = 'succeeded' THEN o.result_ref END AS result_ref,
    CASE WHEN x.status = 'succeeded' AND p_has_result THEN o.result END AS result,
    CASE WHEN p_has_data THEN j.data END AS data
  FROM jobqueue.job j
  JOIN jobqueue.tenant t ON t.tenant_id = j.tenant_id
  JOIN jobqueue.queue q ON q.queue_id = j.queue_id
  JOIN jobqueue.job_type y ON y.type_id = j.type_id
  LEFT JOIN jobqueue.plan n ON n.name = t.plan
  LEFT JOIN jobqueue.tenant_queue g ON g.tenant_id = j.tenant_id AND g.queue_id = j.queue_id
  LEFT JOIN jobqueue.concurrency_key k ON k.key_id = j.key_id
  LEFT JOIN jobqueue.lease l ON l.job_id = j.job_id AND l.tenant_id = j.tenant_id
  LEFT JOIN jobqueue.worker w ON w.worker_id = l.worker_id
  LEFT JOIN jobqueue.ready r ON r.tenant_id = j.tenant_id AND r.job_id = j.job_id
  LEFT JOIN jobqueue.parked p ON p.tenant_id = j.tenant_id AND p.job_id = j.job_id
  LEFT JOIN jobqueue.scheduled s ON s.tenant_id = j.tenant_id AND s.job_id = j.job_id
  LEFT JOIN jobqueue.blocked b ON b.tenant_id = j.tenant_id AND b.job_id = j.job_id
  LEFT JOIN jobqueue.ended e ON e.tenant_id = j.tenant_id AND e.job_id = j.job_id
  LEFT JOIN jobqueue.inbox i ON i.tenant_id = j.tenant_id AND i.job_id = j.job_id
  LEFT JOIN LATERAL (
    SELECT c.attempt, c.started_at, c.finished_at, c.result, c.result_ref, c.error
    FROM jobqueue.outcome c
    WHERE c.tenant_id = j.tenant_id AND c.job_id = j.job_id AND c.state IN ('succeeded', 'failed', 'dlq', 'cancelled', 'expired')
    ORDER BY c.seq DESC
    LIMIT 1) o ON true
  CROSS JOIN LATERAL (
    SELECT CASE
      WHEN l.job_id IS NOT NULL THEN CASE WHEN l.started_at IS NULL THEN 'leased' ELSE 'running' END
      WHEN r.job_id IS NOT NULL OR p.job_id IS NOT NULL OR i.job_id IS NOT NULL THEN 'queued'
      WHEN s.job_id IS NOT NULL THEN CASE s.reason WHEN 'retry' THEN 'failed' ELSE 'scheduled' END
      WHEN b.job_id IS NOT NULL THEN 'blocked'
      ELSE coalesce(e.status, 'succeeded') END AS status) x
  WHERE j.tenant_id = p_tenant_id AND j.job_id = ANY (p_job_ids);
END $$;

CREATE FUNCTION jobqueue.receive_v1(p_limit integer, p_tenant_id integer, p_job_id uuid, p_default_attempts_max integer, p_default_expires_in_s double precision) RETURNS TABLE(queue_id integer, type_id integer, tenant_id integer, band smallint, jobs bigint, due bigint)
    LANGUAGE plpgsql
    SET jit TO 'off'
    SET enable_seqscan TO 'off'
    AS $$
#variable_conflict use_column
DECLARE
  v_ids uuid[];
BEGIN
  IF current_setting('synchronous_commit') IN ('off', 'local') THEN
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;
  IF p_job_id IS NULL THEN
    v_ids := ARRAY(SELECT i.job_id FROM jobqueue.inbox i ORDER BY i.job_id LIMIT p_limit FOR UPDATE SKIP LOCKED);
  ELSE -- who asks for one by id waits for whoever moves it
    v_ids := ARRAY(SELECT i.job_id FROM jobqueue.inbox i WHERE i.job_id = p_job_id AND i.tenant_id = p_tenant_id FOR UPDATE);
  END IF;
  IF v_ids = '{}' THEN
    RETURN;
  END IF;
  INSERT INTO jobqueue.queue (name)
  SELECT DISTINCT i.queue FROM jobqueue.inbox i
  WHERE i.job_id = ANY (v_ids) AND NOT EXISTS (SELECT FROM jobqueue.queue q WHERE q.name = i.queue)
  ORDER BY 1
  ON CONFLICT DO NOTHING;
  INSERT INTO jobqueue.job_type (name)
  SELECT DISTINCT i.job_type FROM jobqueue.inbox i
  WHERE i.job_id = ANY (v_ids) AND NOT EXISTS (SELECT FROM jobqueue.job_type y WHERE y.name = i.job_type)
  ORDER BY 1
  ON CONFLICT DO NOTHING;
  INSERT INTO jobqueue.concurrency_key (tenant_id, queue_id, name)
  SELECT DISTINCT i.tenant_id, q.queue_id, i.concurrency_key
  FROM jobqueue.inbox i JOIN jobqueue.queue q ON q.name = i.queue
  WHERE i.job_id = ANY (v_ids) AND i.concurrency_key IS NOT NULL
    AND NOT EXISTS (SELECT FROM jobqueue.concurrency_key k WHERE k.tenant_id = i.tenant_id AND k.queue_id = q.queue_id AND k.name = i.concurrency_key)
  ORDER BY 1, 2, 3
  ON CONFLICT DO NOTHING;
  RETURN QUERY
  WITH
  gone AS (DELETE FROM jobqueue.inbox i WHERE i.job_id = ANY (v_ids) RETURNING i.*),
  fresh AS MATERIALIZED (
    SELECT g.job_id, g.tenant_id AS tid, q.queue_id AS qid, y.type_id AS typ, k.key_id, g.priority, g.idempotency_key, g.correlation_id, g.traceparent,
      g.tags, g.metadata, g.data, g.timeout_s, clock_timestamp() AS at, CASE WHEN g.run_at > clock_timestamp() THEN g.run_at END AS run_at,
      coalesce(g.start_by, coalesce(g.run_at, clock_timestamp()) + p_default_expires_in_s * interval '1 second') AS start_by,
      coalesce(g.max_attempts, s.max_attempts, p_default_attempts_max)::smallint AS attempts_max,
      (g.priority + CASE WHEN k.key_id IS NULL THEN 0 ELSE 4 END)::smallint AS band
    FROM gone g
    JOIN jobqueue.queue q ON q.name = g.queue
    JOIN jobqueue.job_type y ON y.name = g.job_type
    LEFT JOIN jobqueue.concurrency_key k ON k.tenant_id = g.tenant_id AND k.queue_id = q.queue_id AND k.name = g.concurrency_key
    LEFT JOIN jobqueue.tenant_queue s ON s.tenant_id = g.tenant_id AND s.queue_id = q.queue_id
    ORDER BY g.job_id),
  stored AS (
    INSERT INTO jobqueue.job (tenant_id, job_id, queue_id, type_id, key_id, priority, max_attempts, timeout_s, scheduled_at, idempotency_key,
      correlation_id, traceparent, tags, metadata, data)
    SELECT f.tid, f.job_id, f.qid, f.typ, f.key_id, f.priority, f.attempts_max, f.timeout_s, f.run_at, f.idempotency_key, f.correlation_id,
      f.traceparent, f.tags, f.metadata, f.data
    FROM fresh f),
  due AS (
    INSERT INTO jobqueue.ready (sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes, key_id, start_by)
    SELECT f.at, f.job_id, f.qid, f.typ, f.tid, f.band, f.priority, 0, f.attempts_max, 0, f.key_id, f.start_by FROM fresh f WHERE f.run_at IS NULL),
  later AS (
    INSERT INTO jobqueue.scheduled (sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes, key_id, start_by, run_at, reason)
    SELECT f.run_at, f.job_id, f.qid, f.typ, f.tid, f.band, f.priority, 0, f.attempts_max, 0, f.key_id, f.start_by, f.run_at, 'asked'
    FROM fresh f
    WHERE f.run_at IS NOT NULL),
  history AS (
    INSERT INTO jobqueue.event (tenant_id, job_id, type, at, data)
    SELECT f.tid, f.job_id, 'submitted', f.at, CASE WHEN f.run_at IS NOT NULL THEN '{"status":"scheduled"}'::json END FROM fresh f),
  counted AS (
    INSERT INTO jobqueue.tally (tenant_id, queue_id, status, n, entered)
    SELECT f.tid, f.qid, CASE WHEN f.run_at IS NULL THEN 'queued' ELSE 'scheduled' END, count(*), count(*) FROM fresh f GROUP BY 1, 2, 3)
  SELECT f.qid, f.typ, f.tid, f.band, count(*), count(*) FILTER (WHERE f.run_at IS NULL) FROM fresh f GROUP BY 1, 2, 3, 4;
END $$;

CREATE FUNCTION jobqueue.refuse_change_v1() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = format('%s of %s is refused: it is only added to', TG_OP, TG_TABLE_NAME);
END $$;

CREATE FUNCTION jobqueue.retry_v1(p_tenant_id integer, p_job_id uuid, p_is_reset boolean, OUT verdict text, OUT status text) RETURNS record
    LANGUAGE plpgsql
    SET jit TO 'off'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    AS $$
DECLARE
  v_attempts_max int;
BEGIN
  SELECT j.max_attempts INTO v_attempts_max
  FROM jobqueue.job j
  WHERE j.tenant_id = p_tenant_id AND j.job_id = p_job_id
  FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    verdict := 'unknown';
    RETURN;
  END IF;
  FOR round IN 1 .. 5 LOOP
    WITH
    e AS (
      DELETE FROM jobqueue.ended x
      WHERE x.tenant_id = p_tenant_id AND x.job_id = p_job_id AND (p_is_reset OR x.attempt < v_attempts_max)
      RETURNING x.attempt, x.crashes, x.status),
    s AS (
      DELETE FROM jobqueue.scheduled x
      WHERE x.tenant_id = p_tenant_id AND x.job_id = p_job_id AND x.reason = 'retry'
      RETURNING x.attempt, x.crashes),
    done AS (
      UPDATE jobqueue.outcome o
      SET state = 'superseded'
      WHERE o.tenant_id = p_tenant_id AND o.job_id = p_job_id AND o.state = 'succeeded' AND (p_is_reset OR o.attempt < v_attempts_max)
      RETURNING o.attempt),
    gone AS (
      SELECT attempt, crashes, e.status AS was FROM e
      UNION ALL
      SELECT attempt, crashes, 'failed' FROM s
      UNION ALL
      SELECT attempt, 0::smallint, 'succeeded' FROM done),
    due AS (
      INSERT INTO jobqueue.ready (sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes, key_id)
      SELECT clock_timestamp(), j.job_id, j.queue_id, j.type_id, j.tenant_id, j.priority + CASE WHEN j.key_id IS NULL THEN 0 ELSE 4 END, j.priority,
        CASE WHEN p_is_reset THEN 0 ELSE g.attempt END, j.max_attempts, CASE WHEN p_is_reset THEN 0 ELSE least(g.crashes, 1) END, j.key_id
      FROM gone g JOIN jobqueue.job j ON j.tenant_id = p_tenant_id AND j.job_id = p_job_id),
    history AS (
      INSERT INTO jobqueue.event (tenant_id, job_id, type, then_type, attempt)
      SELECT p_tenant_id, p_job_id, 'retried', 'queued', CASE WHEN p_is_reset THEN 0 ELSE g.attempt END FROM gone g),
    counted AS (
      INSERT INTO jobqueue.tally (tenant_id, queue_id, status, n, entered)
      SELECT p_tenant_id, j.queue_id, u.status, u.n, greatest(u.n, 0)
      FROM gone g JOIN jobqueue.job j ON j.tenant_id = p_tenant_id AND j.job_id = p_job_id
      CROSS JOIN LATERAL (VALUES (g.was, -1), ('queued', 1)) u(status, n))
    SELECT 'queued', 'queued' INTO verdict, status FROM gone;
    IF FOUND THEN
      RETURN;
    END IF;
    status := jobqueue.status_v1(p_tenant_id, p_job_id);
    verdict := CASE
      WHEN status NOT IN ('dlq', 'cancelled', 'expired', 'succeeded', 'failed') THEN 'wrong_state'
      WHEN status <> 'failed' AND round > 1 AND NOT p_is_reset THEN 'exhausted' -- in the first round it may have ended just now
    END;
    IF verdict IS NOT NULL THEN
      RETURN;
    END IF;
  END LOOP;
  RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'the job moved in every look'; -- the caller tries again
END $$;

CREATE TABLE jobqueue.tenant_queue (
    tenant_id integer NOT NULL,
    queue_id integer NOT NULL,
    is_paused boolean DEFAULT false NOT NULL,
    max_concurrent integer,
    key_max_concurrent integer DEFAULT 1 NOT NULL,
    rate_per_second double precision,
    max_attempts smallint,
    retry_base_s double precision,
    rate_tokens double precision DEFAULT 0 NOT NULL,
    rated_at timestamp with time zone DEFAULT '1970-01-01 00:00:00+00'::timestamp with time zone NOT NULL,
    CONSTRAINT tenant_queue_concurrency CHECK (((max_concurrent >= 0) AND (key_max_concurrent >= 1))),
    CONSTRAINT tenant_queue_limits CHECK (((rate_per_second > (0)::double precision) AND (max_attempts >= 1) AND (retry_base_s >= (0)::double precision)))
);

COMMENT ON TABLE jobqueue.tenant_queue IS 'One tenant''s settings of one queue; changed under the tenant''s gate. No row: all defaults. rate_*: the bucket of starts a second.';

CREATE FUNCTION jobqueue.set_queue_v1(p_tenant_id integer, p_queue_id integer, p_changes json) RETURNS SETOF jobqueue.tenant_queue
    LANGUAGE plpgsql
    AS $$
BEGIN
  PERFORM FROM jobqueue.tenant t WHERE t.tenant_id = p_tenant_id FOR NO KEY UPDATE;
  INSERT INTO jobqueue.tenant_queue (tenant_id, queue_id) VALUES (p_tenant_id, p_queue_id) ON CONFLICT DO NOTHING;
  RETURN QUERY
  UPDATE jobqueue.tenant_queue q
  SET (is_paused, max_concurrent, key_max_concurrent, rate_per_second, max_attempts, retry_base_s) = (
    SELECT n.is_paused, n.max_concurrent, n.key_max_concurrent, n.rate_per_second, n.max_attempts, n.retry_base_s
    FROM json_populate_record(q, p_changes) n)
  WHERE q.tenant_id = p_tenant_id AND q.queue_id = p_queue_id
  RETURNING q.*;
END $$;

CREATE FUNCTION jobqueue.settle_v1(p_is_reaper boolean, p_ids uuid[], p_tokens uuid[], p_kinds text[], p_nexts text[], p_attempts smallint[], p_crashes smallint[], p_delays_s double precision[], p_ran_s double precision[], p_results json[], p_refs text[], p_errors json[], p_key_ids bigint[]) RETURNS TABLE(job_id uuid, token uuid, status text, next_status text)
    LANGUAGE plpgsql
    SET jit TO 'off'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET enable_nestloop TO 'off'
    SET enable_mergejoin TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
#variable_conflict use_column
DECLARE
  v_is_mixed boolean := p_nexts IS NOT NULL;
  v_done uuid[];
  v_turned uuid[];
  v_due text;
BEGIN
  IF current_setting('synchronous_commit') IN ('off', 'local') THEN
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;
  IF p_key_ids IS NOT NULL THEN
    PERFORM FROM jobqueue.concurrency_key k WHERE k.key_id = ANY (p_key_ids) ORDER BY k.key_id FOR NO KEY UPDATE;
  END IF;

  -- No pass that locks first: batches that overlap are the same batch sent again, in the same order; heartbeat and recover skip
  -- locked leases, and cancel holds one only.
  WITH
  told AS MATERIALIZED (
    SELECT u.id, u.tok, coalesce(u.kind, 'succeeded') AS kind, coalesce(u.following, 'succeeded') AS following, u.attempt_left, u.crashes_left,
      u.delay_s, u.ran_s, u.result, u.ref, u.error
    FROM unnest(p_ids, p_tokens, p_kinds, p_nexts, p_attempts, p_crashes, p_delays_s, p_ran_s, p_results, p_refs, p_errors)
      u(id, tok, kind, following, attempt_left, crashes_left, delay_s, ran_s, result, ref, error)),
  freed AS (
    DELETE FROM jobqueue.lease l
    WHERE l.job_id = ANY (p_ids) AND ((l.job_id, l.token) IN (SELECT u.id, u.tok FROM unnest(p_ids, p_tokens) u(id, tok))) IS TRUE
    RETURNING l.job_id, l.token, l.claimed_at, l.sort_at, l.started_at, l.reported_at, l.cancel_requested_at, l.start_by, l.key_id, l.queue_id,
      l.type_id, l.tenant_id, l.worker_id, l.band, l.priority, l.attempt, l.attempts_max),
  gone AS MATERIALIZED (
    SELECT f.*, t.kind, t.attempt_left, t.crashes_left, t.delay_s, t.result, t.ref, t.error,
      CASE WHEN f.cancel_requested_at IS NOT NULL AND t.following <> 'succeeded' THEN 'cancelled' ELSE t.following END AS following,
      f.cancel_requested_at IS NOT NULL AND t.following NOT IN ('succeeded', 'cancelled') AS is_turned,
      coalesce(f.started_at, CASE WHEN t.ran_s IS NOT NULL THEN greatest(f.claimed_at, clock_timestamp() - t.ran_s * interval '1 second') END) AS began_at
    FROM freed f JOIN told t ON t.id = f.job_id AND t.tok = f.token),
  ran AS (
    INSERT INTO jobqueue.outcome (tenant_id, job_id, state, attempt, worker_id, token, started_at, result, result_ref, error)
    SELECT g.tenant_id, g.job_id, CASE g.following WHEN 'queued' THEN 'failed' ELSE g.following END, g.attempt, g.worker_id, g.token, g.began_at,
      CASE g.following WHEN 'succeeded' THEN g.result END, CASE g.following WHEN 'succeeded' THEN g.ref END, g.error
    FROM gone g
    WHERE g.following IN ('succeeded', 'failed', 'dlq', 'cancelled')
      OR (g.following = 'queued' AND g.kind = 'lease_expired' AND g.began_at IS NOT NULL)),
  rest AS (
    INSERT INTO jobqueue.ended (sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes, key_id, status)
    SELECT g.sort_at, g.job_id, g.queue_id, g.type_id, g.tenant_id, g.band & 7, g.priority, g.attempt, g.attempts_max, g.crashes_left, g.key_id, g.following
    FROM gone g
    WHERE v_is_mixed AND g.following IN ('dlq', 'cancelled')),
  later AS (
    INSERT INTO jobqueue.scheduled (sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes, key_id, run_at, reason)
    SELECT g.sort_at, g.job_id, g.queue_id, g.type_id, g.tenant_id, g.band & 7, g.priority, g.attempt_left, g.attempts_max, g.crashes_left, g.key_id,
      clock_timestamp() + g.delay_s * interval '1 second', CASE g.following WHEN 'failed' THEN 'retry' ELSE 'snooze' END
    FROM gone g
    WHERE v_is_mixed AND g.following IN ('failed', 'scheduled')),
  back AS (               -- its old place in the order; a run that never started keeps the job's expiry
    INSERT INTO jobqueue.ready (sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes, key_id, start_by)
    SELECT g.sort_at, g.job_id, g.queue_id, g.type_id, g.tenant_id, g.band | 8, g.priority, g.attempt_left, g.attempts_max, g.crashes_left, g.key_id,
      CASE WHEN g.began_at IS NULL THEN g.start_by END
    FROM gone g
    WHERE v_is_mixed AND g.following = 'queued'),
  history AS (            -- one row reads as all the events that were not reported while the job ran
    INSERT INTO jobqueue.event (tenant_id, job_id, type, then_type, leased_at, started_at, token, worker_id, attempt)
    SELECT g.tenant_id, g.job_id, g.kind,
      CASE WHEN g.following IN ('queued', 'dlq') OR (g.following = 'cancelled' AND g.kind <> 'cancelled') THEN g.following END,
      CASE WHEN g.reported_at IS NULL THEN g.claimed_at END, CASE WHEN g.started_at IS NULL THEN g.began_at END,
      CASE WHEN NOT p_is_reaper THEN g.token END, g.worker_id, g.attempt
    FROM gone g),
  counted AS (
    INSERT INTO jobqueue.tally (tenant_id, queue_id, status, n, entered, ran_s)
    SELECT g.tenant_id, g.queue_id, g.following, count(*), count(*),
      coalesce(sum(greatest(0, date_part('epoch', clock_timestamp() - g.began_at))), 0)
    FROM gone g
    GROUP BY 1, 2, 3)
  SELECT array_agg(g.token), array_agg(g.token) FILTER (WHERE g.is_turned),
    (SELECT string_agg(DISTINCT concat_ws('.', b.tenant_id, b.queue_id, b.type_id, b.band | 8), ' ') FROM gone b WHERE v_is_mixed AND b.following = 'queued')
  INTO v_done, v_turned, v_due
  FROM gone g;

  IF p_key_ids IS NOT NULL THEN -- a new statement: it sees the deletes above
    SELECT concat_ws(' ', v_due, string_agg(concat_ws('.', u.tenant_id, u.queue_id, u.type_id, u.band), ' ')) INTO v_due FROM jobqueue.unpark_v1(p_key_ids) u;
  END IF;
  IF v_due <> '' THEN
    RETURN QUERY SELECT NULL::uuid, NULL::uuid, 'due', v_due;
  END IF;
  IF v_turned IS NOT NULL THEN
    RETURN QUERY SELECT u.id, u.tok, 'settled', 'cancelled' FROM unnest(p_ids, p_tokens) u(id, tok) WHERE u.tok = ANY (v_turned);
  END IF;
  IF coalesce(cardinality(v_done), 0) < cardinality(p_ids) THEN
    RETURN QUERY
    SELECT u.id, u.tok, CASE WHEN e.job_id IS NULL THEN 'lease_lost' ELSE 'replayed' END, coalesce(e.then_type, u.following, 'succeeded')
    FROM unnest(p_ids, p_tokens, p_kinds, p_nexts) u(id, tok, kind, following)
    LEFT JOIN LATERAL (
      SELECT x.job_id, x.then_type
      FROM jobqueue.event x
      WHERE x.job_id = u.id AND x.token = u.tok AND x.type = coalesce(u.kind, 'succeeded')
      LIMIT 1) e ON true
    WHERE u.tok <> ALL (coalesce(v_done, '{}'));
  END IF;
END $$;

CREATE FUNCTION jobqueue.status_v1(p_tenant_id integer, p_job_id uuid) RETURNS text
    LANGUAGE sql STABLE
    AS $$
  SELECT coalesce(
    (SELECT CASE WHEN l.started_at IS NULL THEN 'leased' ELSE 'running' END FROM jobqueue.lease l WHERE l.job_id = j.job_id AND l.tenant_id = j.tenant_id),
    (SELECT 'queued' FROM jobqueue.ready r WHERE r.tenant_id = j.tenant_id AND r.job_id = j.job_id),
    (SELECT CASE s.reason WHEN 'retry' THEN 'failed' ELSE 'scheduled' END FROM jobqueue.scheduled s WHERE s.tenant_id = j.tenant_id AND s.job_id = j.job_id),
    (SELECT e.status FROM jobqueue.ended e WHERE e.tenant_id = j.tenant_id AND e.job_id = j.job_id),
    (SELECT 'queued' FROM jobqueue.parked p WHERE p.tenant_id = j.tenant_id AND p.job_id = j.job_id),
    (SELECT 'blocked' FROM jobqueue.blocked b WHERE b.tenant_id = j.tenant_id AND b.job_id = j.job_id),
    (SELECT 'queued' FROM jobqueue.inbox i WHERE i.tenant_id = j.tenant_id AND i.job_id = j.job_id),
    'succeeded')
  FROM jobqueue.job j
  WHERE j.tenant_id = p_tenant_id AND j.job_id = p_job_id
$$;

CREATE FUNCTION jobqueue.submit(tenant text, job_type text, data jsonb DEFAULT '{}'::jsonb, idempotency_key text DEFAULT NULL::text, queue text DEFAULT 'default'::text, priority text DEFAULT 'normal'::text, max_attempts integer DEFAULT NULL::integer, scheduled_at timestamp with time zone DEFAULT NULL::timestamp with time zone, delay_seconds double precision DEFAULT NULL::double precision, timeout_seconds integer DEFAULT NULL::integer, expires_in_seconds double precision DEFAULT NULL::double precision, concurrency_key text DEFAULT NULL::text, tags text[] DEFAULT '{}'::text[], metadata jsonb DEFAULT '{}'::jsonb, correlation_id text DEFAULT NULL::text, traceparent text DEFAULT NULL::text) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
#variable_conflict use_column
DECLARE
  v_tenant_id int;
  v_queued_max int;
  v_id uuid := jobqueue.new_id();
  v_now timestamptz := clock_timestamp();
  v_run_at timestamptz;
  v_priority int;
  v_field text;
  v_fault text;
  v_request_hash uuid;
  v_found record;
BEGIN
  IF current_setting('synchronous_commit') IN ('off', 'local') THEN
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;
  submit.data := coalesce(submit.data, '{}');
  submit.metadata := coalesce(submit.metadata, '{}');
  submit.tags := coalesce(submit.tags, '{}');
  submit.queue := coalesce(submit.queue, 'default');
  submit.priority := coalesce(submit.priority, 'normal');
  v_priority := array_position(ARRAY['critical', 'high', 'normal', 'low'], submit.priority) - 1;

  SELECT f.field, f.fault INTO v_field, v_fault
  FROM (VALUES
    ('tenant', submit.tenant IS NULL, 'is needed'),
    ('job_type', submit.job_type IS NULL OR submit.job_type !~ '^[A-Za-z0-9_.:-]{1,100}$', 'must be 1-100 of A-Z a-z 0-9 _ . : -'),
    ('queue', submit.queue !~ '^[A-Za-z0-9_.-]{1,100}$', 'must be 1-100 of A-Z a-z 0-9 _ . -'),
    ('priority', v_priority IS NULL, 'must be critical, high, normal or low'),
    ('data', jsonb_typeof(submit.data) <> 'object', 'must be a JSON object'),
    ('data', octet_length(submit.data::text) > 262144, 'is over 256 KiB'),
    ('data', jsonb_path_exists(submit.data, '$.** ? (@.type() == "number") ? (@ > 1.7e308 || @ < -1.7e308)'), 'has a number beyond a double'),
    ('metadata', jsonb_typeof(submit.metadata) <> 'object', 'must be a JSON object'),
    ('metadata', octet_length(submit.metadata::text) > 16384, 'is over 16 KiB'),
    ('idempotency_key', submit.idempotency_key !~ '^[ -~]{1,255}$', 'must be 1-255 printable ASCII characters'),
    ('max_attempts', submit.max_attempts NOT BETWEEN 1 AND 1000, 'must be 1 to 1000'),
    ('delay_seconds', NOT submit.delay_seconds BETWEEN 0 AND 31622400, 'must be 0 to 31622400'),
    ('delay_seconds', submit.delay_seconds IS NOT NULL AND submit.scheduled_at IS NOT NULL, 'excludes scheduled_at'),
    ('scheduled_at', NOT isfinite(submit.scheduled_at) OR submit.scheduled_at > '9999-12-31', 'is out of range'),
    ('timeout_seconds', submit.timeout_seconds NOT BETWEEN 1 AND 604800, 'must be 1 to 604800'),
    ('expires_in_seconds', NOT (submit.expires_in_seconds > 0 AND submit.expires_in_seconds <= 31622400), 'must be over 0, at most 31622400'),
    ('concurrency_key', length(submit.concurrency_key) NOT BETWEEN 1 AND 255, 'must be 1-255 characters'),
    ('tags', cardinality(submit.tags) > 50 OR array_ndims(submit.tags) > 1, 'must be at most 50'),
    ('tags', EXISTS (SELECT FROM unnest(submit.tags) t(tag) WHERE t.tag IS NULL OR length(t.tag) NOT BETWEEN 1 AND 100), 'must be 1-100 characters each'),
    ('correlation_id', submit.correlation_id !~ '^[ -~]{1,128}$', 'must be 1-128 printable ASCII characters'),
    ('traceparent', submit.traceparent !~ '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$', 'must be a W3C traceparent')
  ) f(field, is_wrong, fault)
  WHERE f.is_wrong
  LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('jobqueue.submit: %s %s', v_field, v_fault), COLUMN = v_field;
  END IF;

  SELECT t.tenant_id, nullif(coalesce(t.max_queued, p.max_queued), 0) INTO v_tenant_id, v_queued_max
  FROM jobqueue.tenant t LEFT JOIN jobqueue.plan p ON p.name = t.plan
  WHERE t.name = submit.tenant;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('jobqueue.submit: there is no tenant %L', submit.tenant), COLUMN = 'tenant';
  END IF;

  IF submit.idempotency_key IS NOT NULL THEN
    v_request_hash := encode(substring(sha256(convert_to(jsonb_build_array(submit.job_type, submit.data, submit.queue, submit.priority,
      submit.max_attempts, submit.scheduled_at, submit.delay_seconds, submit.timeout_seconds, submit.expires_in_seconds,
      submit.concurrency_key, submit.tags, submit.metadata)::text, 'UTF8')) FROM 1 FOR 16), 'hex')::uuid;
    FOR look IN 1 .. 5 LOOP
      INSERT INTO jobqueue.idempotency (tenant_id, key_hash, request_hash, job_id)
      VALUES (v_tenant_id, encode(substring(sha256(convert_to(submit.idempotency_key, 'UTF8')) FROM 1 FOR 16), 'hex')::uuid, v_request_hash, v_id)
      ON CONFLICT DO NOTHING;
      EXIT WHEN FOUND;
      SELECT i.job_id, i.request_hash INTO v_found
      FROM jobqueue.idempotency i
      WHERE i.tenant_id = v_tenant_id
        AND i.key_hash = encode(substring(sha256(convert_to(submit.idempotency_key, 'UTF8')) FROM 1 FOR 16), 'hex')::uuid;
      CONTINUE WHEN NOT FOUND; -- swept in between
      IF v_found.request_hash = v_request_hash THEN
        RETURN v_found.job_id;
      END IF;
      RAISE EXCEPTION USING ERRCODE = '23505', MESSAGE = 'jobqueue.submit: the idempotency key was used with other fields',
        DETAIL = format('job %s', v_found.job_id), COLUMN = 'idempotency_key';
    END LOOP;
  END IF;

  IF v_queued_max <= (
    SELECT sum(t.n)
    FROM jobqueue.tally t
    WHERE t.tenant_id = v_tenant_id AND t.status IN ('queued', 'scheduled', 'blocked', 'failed')) THEN
    RAISE EXCEPTION USING ERRCODE = '53400', MESSAGE = 'jobqueue.submit: the tenant has as many waiting jobs as it may have', COLUMN = 'tenant';
  END IF;

  v_run_at := CASE WHEN submit.delay_seconds > 0 THEN v_now + submit.delay_seconds * interval '1 second'
    WHEN submit.scheduled_at > v_now THEN submit.scheduled_at END;
  INSERT INTO jobqueue.inbox (job_id, tenant_id, run_at, start_by, queue, job_type, priority, max_attempts, timeout_s, concurrency_key,
    idempotency_key, correlation_id, traceparent, tags, metadata, data)
  VALUES (v_id, v_tenant_id, v_run_at, coalesce(v_run_at, v_now) + submit.expires_in_seconds * interval '1 second', submit.queue, submit.job_type,
    v_priority, submit.max_attempts, submit.timeout_seconds, submit.concurrency_key, submit.idempotency_key, submit.correlation_id,
    submit.traceparent, CASE WHEN cardinality(submit.tags) > 0 THEN submit.tags END,
    CASE WHEN submit.metadata <> '{}' THEN submit.metadata END, submit.data);
  RETURN v_id;
END $_$;

CREATE FUNCTION jobqueue.submit_v1(p_default_attempts_max integer, p_tenants integer[], p_queues integer[], p_types integer[], p_priorities smallint[], p_data json[], p_attempts_max smallint[], p_key_hashes uuid[], p_request_hashes uuid[], p_idempotency_keys text[], p_correlation_ids text[], p_traceparents text[], p_key_ids bigint[], p_timeouts_s integer[], p_run_at timestamp with time zone[], p_delays_s double precision[], p_expires_in_s double precision[], p_tags json[], p_metadata json[], p_lock_timeout_ms integer) RETURNS TABLE(ord bigint, job_id uuid, attempts_max smallint, run_at timestamp with time zone)
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
#variable_conflict use_column
DECLARE
  v_us bigint := extract(epoch FROM clock_timestamp()) * 1000000;
  v_moment text := lpad(to_hex(v_us / 1000), 12, '0') || '7' || lpad(to_hex(v_us % 1000 * 4096 / 1000), 3, '0') || '8';
  v_random text := right(gen_random_uuid()::text, 11);
BEGIN
  IF cardinality(p_tenants) > 65535 THEN
    RAISE 'a call stores at most 65535 jobs';
  END IF;
  IF current_setting('synchronous_commit') IN ('off', 'local') THEN
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;
  PERFORM set_config('lock_timeout', p_lock_timeout_ms::text, true);
  RETURN QUERY
  WITH
  asked AS MATERIALIZED (
    SELECT u.*, (v_moment || lpad(to_hex(u.ord), 4, '0') || v_random)::uuid AS id, clock_timestamp() AS at -- no join here: ids rise in the order of the arrays
    FROM unnest(p_tenants, p_queues, p_types, p_priorities, p_data, p_attempts_max, p_key_hashes, p_request_hashes, p_idempotency_keys,
        p_correlation_ids, p_traceparents, p_key_ids, p_timeouts_s, p_run_at, p_delays_s, p_expires_in_s, p_tags, p_metadata)
      WITH ORDINALITY u(tid, qid, typ, priority, data, asked_attempts_max, key_hash, request_hash, idempotency_key,
        correlation_id, traceparent, key_id, timeout_s, asked_at, delay_s, expires_in_s, tags, metadata, ord)),
  kept AS (
    INSERT INTO jobqueue.idempotency (tenant_id, key_hash, request_hash, job_id)
    SELECT a.tid, a.key_hash, a.request_hash, a.id FROM asked a WHERE a.key_hash IS NOT NULL ORDER BY a.tid, a.key_hash
    ON CONFLICT DO NOTHING
    RETURNING job_id),
  fresh AS MATERIALIZED (
    SELECT a.*, coalesce(a.asked_attempts_max, s.max_attempts, p_default_attempts_max)::smallint AS attempts_max,
      (a.priority + CASE WHEN a.key_id IS NULL THEN 0 ELSE 4 END)::smallint AS band,
      CASE WHEN a.delay_s > 0 THEN a.at + a.delay_s * interval '1 second' WHEN a.asked_at > a.at THEN a.asked_at END AS run_at
    FROM asked a LEFT JOIN jobqueue.tenant_queue s ON s.tenant_id = a.tid AND s.queue_id = a.qid
    WHERE a.key_hash IS NULL OR a.id IN (SELECT k.job_id FROM kept k)),
  stored AS (
    INSERT INTO jobqueue.job (tenant_id, job_id, queue_id, type_id, key_id, priority, max_attempts, timeout_s, scheduled_at, idempotency_key,
      correlation_id, traceparent, tags, metadata, data)
    SELECT f.tid, f.id, f.qid, f.typ, f.key_id, f.priority, f.attempts_max, f.timeout_s, f.run_at, f.idempotency_key,
      f.correlation_id, f.traceparent, CASE WHEN f.tags IS NOT NULL THEN ARRAY(SELECT json_array_elements_text(f.tags)) END, f.metadata, f.data
    FROM fresh f),
  due AS (
    INSERT INTO jobqueue.ready (sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes, key_id, start_by)
    SELECT f.at, f.id, f.qid, f.typ, f.tid, f.band, f.priority, 0, f.attempts_max, 0, f.key_id, f.at + f.expires_in_s * interval '1 second'
    FROM fresh f
    WHERE f.run_at IS NULL),
  later AS (
    INSERT INTO jobqueue.scheduled (sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes, key_id, start_by, run_at, reason)
    SELECT f.run_at, f.id, f.qid, f.typ, f.tid, f.band, f.priority, 0, f.attempts_max, 0, f.key_id, f.run_at + f.expires_in_s * interval '1 second', f.run_at, 'asked'
    FROM fresh f
    WHERE f.run_at IS NOT NULL),
  history AS (
    INSERT INTO jobqueue.event (tenant_id, job_id, type, at, data)
    SELECT f.tid, f.id, 'submitted', f.at, CASE WHEN f.run_at IS NOT NULL THEN '{"status":"scheduled"}'::json END FROM fresh f),
  counted AS (
    INSERT INTO jobqueue.tally (tenant_id, queue_id, status, n, entered)
    SELECT f.tid, f.qid, CASE WHEN f.run_at IS NULL THEN 'queued' ELSE 'scheduled' END, count(*), count(*) FROM fresh f GROUP BY 1, 2, 3)
  SELECT f.ord, f.id, f.attempts_max, f.run_at FROM fresh f;
END $$;

CREATE FUNCTION jobqueue.sweep_keys_v1(p_limit integer) RETURNS bigint
    LANGUAGE plpgsql
    AS $$
DECLARE
  v_keys bigint[];
BEGIN
  WITH RECURSIVE
  waiting(key_id) AS (
    (SELECT p.key_id FROM jobqueue.parked p ORDER BY p.key_id LIMIT 1)
    UNION ALL
    SELECT (SELECT p.key_id FROM jobqueue.parked p WHERE p.key_id > w.key_id ORDER BY p.key_id LIMIT 1)
    FROM waiting w
    WHERE w.key_id IS NOT NULL),
  locked AS (
    SELECT k.key_id
    FROM jobqueue.concurrency_key k
    WHERE k.key_id = ANY (ARRAY(SELECT w.key_id FROM waiting w WHERE w.key_id IS NOT NULL LIMIT p_limit))
    ORDER BY k.key_id
    FOR NO KEY UPDATE SKIP LOCKED)
  SELECT array_agg(l.key_id) INTO v_keys FROM locked l;
  RETURN CASE WHEN v_keys IS NULL THEN 0 ELSE (SELECT coalesce(sum(u.jobs), 0) FROM jobqueue.unpark_v1(v_keys) u) END;
END $$;

CREATE FUNCTION jobqueue.unpark_v1(p_key_ids bigint[]) RETURNS TABLE(tenant_id integer, queue_id integer, type_id integer, band smallint, jobs bigint)
    LANGUAGE sql
    SET jit TO 'off'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET enable_nestloop TO 'on'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$ -- also inside settle, which has its own
  WITH
  room AS (
    SELECT k.key_id, coalesce(s.key_max_concurrent, 1)
      - (SELECT count(*) FROM jobqueue.lease l WHERE l.key_id = k.key_id)
      - (SELECT count(*) FROM jobqueue.ready r WHERE r.key_id = k.key_id) AS free
    FROM jobqueue.concurrency_key k
    LEFT JOIN jobqueue.tenant_queue s ON s.tenant_id = k.tenant_id AND s.queue_id = k.queue_id
    WHERE k.key_id = ANY (p_key_ids)),
  moved AS (
    DELETE FROM jobqueue.parked p
    WHERE p.ctid = ANY (ARRAY(
      SELECT x.ct
      FROM room CROSS JOIN LATERAL (
        SELECT q.ctid AS ct
        FROM jobqueue.parked q
        WHERE q.key_id = room.key_id
        ORDER BY q.priority, q.sort_at, q.job_id
        LIMIT greatest(room.free, 0)
        FOR UPDATE SKIP LOCKED) x))
    RETURNING p.*),
  placed AS (
    INSERT INTO jobqueue.ready (sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes, key_id, start_by)
    SELECT m.sort_at, m.job_id, m.queue_id, m.type_id, m.tenant_id, m.band | 8, m.priority, m.attempt, m.attempts_max, m.crashes, m.key_id, m.start_by
    FROM moved m)
  SELECT m.tenant_id, m.queue_id, m.type_id, (m.band | 8)::smallint, count(*) FROM moved m GROUP BY 1, 2, 3, 4
$$;

CREATE TABLE jobqueue.api_key (
    api_key_id text NOT NULL,
    tenant_id integer NOT NULL,
    name text NOT NULL,
    secret_sha256 text NOT NULL,
    scopes text[] NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    expires_at timestamp with time zone,
    last_used_at timestamp with time zone
);

COMMENT ON TABLE jobqueue.api_key IS 'A key''s secret is 256 random bits, so its SHA-256 is as good as a slow hash.';

CREATE TABLE jobqueue.app_user (
    user_id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id integer NOT NULL,
    email text NOT NULL,
    password_hash text NOT NULL,
    scopes text[] NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    disabled_at timestamp with time zone,
    logged_in_at timestamp with time zone,
    CONSTRAINT app_user_password_hash CHECK ((password_hash ~~ '$argon2id$%'::text))
);

COMMENT ON TABLE jobqueue.app_user IS 'A person of a tenant. email as domain/person.py writes it, so that one address is one row.';

CREATE TABLE jobqueue.audit (
    audit_id uuid NOT NULL,
    tenant_id integer NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    actor_kind text NOT NULL,
    actor_id text,
    actor_name text,
    action text NOT NULL,
    target_kind text NOT NULL,
    target_id text,
    request_id text,
    correlation_id text,
    address text,
    data json NOT NULL,
    CONSTRAINT audit_action CHECK ((action ~ '^[a-z_]+\.[a-z_]+$'::text)),
    CONSTRAINT audit_actor_kind CHECK ((actor_kind = ANY (ARRAY['user'::text, 'key'::text, 'operator'::text, 'cli'::text, 'system'::text, 'unknown'::text]))),
    CONSTRAINT audit_data CHECK ((octet_length((data)::text) <= 16384))
)
PARTITION BY RANGE (audit_id);

COMMENT ON TABLE jobqueue.audit IS 'Who did what, written in the transaction that did it. Rows are only added (triggers and grants hold it) and go with their month. tenant_id 0: no tenant''s in particular. The time is in the id, too.';

CREATE TABLE jobqueue.blocked (
    sort_at timestamp with time zone NOT NULL,
    job_id uuid NOT NULL,
    queue_id integer NOT NULL,
    type_id integer NOT NULL,
    tenant_id integer NOT NULL,
    band smallint NOT NULL,
    priority smallint NOT NULL,
    attempt smallint NOT NULL,
    attempts_max smallint NOT NULL,
    crashes smallint NOT NULL,
    key_id bigint,
    start_by timestamp with time zone,
    waits_for integer NOT NULL,
    CONSTRAINT blocked_attempts CHECK (((attempt >= 0) AND (attempt < attempts_max) AND (crashes >= 0))),
    CONSTRAINT blocked_band CHECK (((priority = ((band)::integer & 3)) AND ((key_id IS NOT NULL) = (((band)::integer & 4) > 0)))),
    CONSTRAINT blocked_waits_for CHECK ((waits_for >= 1))
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0', autovacuum_analyze_scale_factor='0.5', vacuum_truncate=off);

COMMENT ON TABLE jobqueue.blocked IS 'Jobs that wait for other jobs; waits_for counts those not done.';

CREATE SEQUENCE jobqueue.claim_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE jobqueue.concurrency_key (
    key_id bigint NOT NULL,
    tenant_id integer NOT NULL,
    queue_id integer NOT NULL,
    name text NOT NULL
);

COMMENT ON TABLE jobqueue.concurrency_key IS 'The gate of a key''s claims: locked, never counted up.';

ALTER TABLE jobqueue.concurrency_key ALTER COLUMN key_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME jobqueue.concurrency_key_key_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE jobqueue.ended (
    sort_at timestamp with time zone NOT NULL,
    job_id uuid NOT NULL,
    queue_id integer NOT NULL,
    type_id integer NOT NULL,
    tenant_id integer NOT NULL,
    band smallint NOT NULL,
    priority smallint NOT NULL,
    attempt smallint NOT NULL,
    attempts_max smallint NOT NULL,
    crashes smallint NOT NULL,
    key_id bigint,
    start_by timestamp with time zone,
    status text NOT NULL,
    ended_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT ended_attempts CHECK (((attempt >= 0) AND (attempt <= attempts_max) AND (crashes >= 0))),
    CONSTRAINT ended_band CHECK (((priority = ((band)::integer & 3)) AND ((key_id IS NOT NULL) = (((band)::integer & 4) > 0)))),
    CONSTRAINT ended_status CHECK ((status = ANY (ARRAY['dlq'::text, 'cancelled'::text, 'expired'::text])))
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='10000');

COMMENT ON TABLE jobqueue.ended IS 'Jobs that rest; the row a retry deletes, so of two retries one wins.';

CREATE SEQUENCE jobqueue.event_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE jobqueue.event (
    seq bigint DEFAULT nextval('jobqueue.event_seq'::regclass) NOT NULL,
    tenant_id integer NOT NULL,
    job_id uuid NOT NULL,
    type text NOT NULL,
    then_type text,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    leased_at timestamp with time zone,
    started_at timestamp with time zone,
    token uuid,
    worker_id integer,
    attempt smallint,
    data json,
    CONSTRAINT event_then_type CHECK ((then_type = ANY (ARRAY['queued'::text, 'dlq'::text, 'cancelled'::text]))),
    CONSTRAINT event_type CHECK ((type = ANY (ARRAY['submitted'::text, 'blocked'::text, 'queued'::text, 'leased'::text, 'started'::text, 'failed'::text, 'succeeded'::text, 'snoozed'::text, 'released'::text, 'lease_expired'::text, 'cancel_requested'::text, 'cancelled'::text, 'expired'::text, 'dlq'::text, 'retried'::text, 'updated'::text, 'force_succeeded'::text])))
)
PARTITION BY RANGE (job_id);

COMMENT ON TABLE jobqueue.event IS 'Every transition. One row reads as up to four events: leased (leased_at), started (started_at), type, then_type; public seq = seq * 8 + place.';

CREATE TABLE jobqueue.forgotten (
    is_it boolean DEFAULT true NOT NULL,
    seq bigint NOT NULL,
    CONSTRAINT forgotten_one_row CHECK (is_it)
);

COMMENT ON TABLE jobqueue.forgotten IS 'One row: up to which seq events may be gone with their weeks. A stream that asks for older ones is told to start over.';

CREATE TABLE jobqueue.idempotency (
    tenant_id integer NOT NULL,
    key_hash uuid NOT NULL,
    request_hash uuid NOT NULL,
    job_id uuid NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='10000');

COMMENT ON TABLE jobqueue.idempotency IS 'Which job a key made. Swept 24 h after the job ended.';

CREATE TABLE jobqueue.inbox (
    job_id uuid NOT NULL,
    tenant_id integer NOT NULL,
    run_at timestamp with time zone,
    start_by timestamp with time zone,
    queue text NOT NULL,
    job_type text NOT NULL,
    priority smallint NOT NULL,
    max_attempts smallint,
    timeout_s integer,
    concurrency_key text,
    idempotency_key text,
    correlation_id text,
    traceparent text,
    tags text[],
    metadata json,
    data json NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0', autovacuum_analyze_scale_factor='0.5', vacuum_truncate=off);

COMMENT ON TABLE jobqueue.inbox IS 'Jobs submitted inside a caller''s own transaction, names and all, until it has committed and they are moved on.';

CREATE TABLE jobqueue.job (
    tenant_id integer NOT NULL,
    job_id uuid NOT NULL,
    queue_id integer NOT NULL,
    type_id integer NOT NULL,
    key_id bigint,
    workflow_id uuid,
    priority smallint NOT NULL,
    max_attempts smallint NOT NULL,
    timeout_s integer,
    scheduled_at timestamp with time zone,
    idempotency_key text,
    correlation_id text,
    traceparent text,
    tags text[],
    metadata json,
    data json NOT NULL,
    CONSTRAINT job_max_attempts CHECK ((max_attempts >= 1)),
    CONSTRAINT job_priority CHECK (((priority >= 0) AND (priority <= 3)))
)
PARTITION BY RANGE (job_id);

COMMENT ON TABLE jobqueue.job IS 'What was submitted. created_at is in the id. Not updated on the hot path.';

CREATE TABLE jobqueue.job_type (
    type_id integer NOT NULL,
    name text NOT NULL,
    CONSTRAINT job_type_name CHECK ((name ~ '^[A-Za-z0-9_.:-]{1,100}$'::text))
);

ALTER TABLE jobqueue.job_type ALTER COLUMN type_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME jobqueue.job_type_type_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE jobqueue.lease (
    job_id uuid NOT NULL,
    token uuid NOT NULL,
    claim_seq bigint NOT NULL,
    claimed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    deadline_at timestamp with time zone NOT NULL,
    sort_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    reported_at timestamp with time zone,
    cancel_requested_at timestamp with time zone,
    start_by timestamp with time zone,
    claim_id uuid,
    lease_s double precision NOT NULL,
    key_id bigint,
    queue_id integer NOT NULL,
    type_id integer NOT NULL,
    tenant_id integer NOT NULL,
    worker_id integer NOT NULL,
    band smallint NOT NULL,
    priority smallint NOT NULL,
    attempt smallint NOT NULL,
    attempts_max smallint NOT NULL,
    crashes smallint NOT NULL,
    progress double precision,
    progress_message text,
    CONSTRAINT lease_attempt CHECK (((attempt >= 1) AND (attempt <= attempts_max))),
    CONSTRAINT lease_lease_s CHECK ((lease_s > (0)::double precision)),
    CONSTRAINT lease_progress CHECK (((progress >= (0)::double precision) AND (progress <= (100)::double precision)))
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0', autovacuum_analyze_scale_factor='0.5', vacuum_truncate=off);

COMMENT ON TABLE jobqueue.lease IS 'Claimed jobs. token is the fence; claim_seq only counts. reported_at: job.leased is in the history; started_at: job.started is.';

CREATE SEQUENCE jobqueue.outcome_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE jobqueue.outcome (
    seq bigint DEFAULT nextval('jobqueue.outcome_seq'::regclass) NOT NULL,
    tenant_id integer NOT NULL,
    job_id uuid NOT NULL,
    state text NOT NULL,
    attempt smallint NOT NULL,
    worker_id integer,
    token uuid,
    started_at timestamp with time zone,
    finished_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    result json,
    result_ref text,
    error json,
    CONSTRAINT outcome_result CHECK (((state = ANY (ARRAY['succeeded'::text, 'superseded'::text])) OR ((result IS NULL) AND (result_ref IS NULL)))),
    CONSTRAINT outcome_state CHECK ((state = ANY (ARRAY['succeeded'::text, 'superseded'::text, 'failed'::text, 'dlq'::text, 'cancelled'::text, 'expired'::text])))
)
PARTITION BY RANGE (job_id);

COMMENT ON TABLE jobqueue.outcome IS 'How each run ended; seq orders the outcomes of one job. Only a retry of a success writes here again: it becomes superseded, so that succeeded names exactly the jobs that are.';

CREATE TABLE jobqueue.parked (
    sort_at timestamp with time zone NOT NULL,
    job_id uuid NOT NULL,
    queue_id integer NOT NULL,
    type_id integer NOT NULL,
    tenant_id integer NOT NULL,
    band smallint NOT NULL,
    priority smallint NOT NULL,
    attempt smallint NOT NULL,
    attempts_max smallint NOT NULL,
    crashes smallint NOT NULL,
    key_id bigint,
    start_by timestamp with time zone,
    CONSTRAINT parked_attempts CHECK (((attempt >= 0) AND (attempt < attempts_max) AND (crashes >= 0))),
    CONSTRAINT parked_band CHECK (((priority = ((band)::integer & 3)) AND ((key_id IS NOT NULL) = (((band)::integer & 4) > 0))))
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0', autovacuum_analyze_scale_factor='0.5', vacuum_truncate=off);

COMMENT ON TABLE jobqueue.parked IS 'Due jobs over their concurrency key''s limit, out of the head of their lane.';

CREATE TABLE jobqueue.queue (
    queue_id integer NOT NULL,
    name text NOT NULL,
    CONSTRAINT queue_name CHECK ((name ~ '^[A-Za-z0-9_.-]{1,100}$'::text))
);

COMMENT ON TABLE jobqueue.queue IS 'A queue''s name; tenants share the number, so one scan of lanes serves them all.';

CREATE TABLE jobqueue.ready (
    sort_at timestamp with time zone NOT NULL,
    job_id uuid NOT NULL,
    queue_id integer NOT NULL,
    type_id integer NOT NULL,
    tenant_id integer NOT NULL,
    band smallint NOT NULL,
    priority smallint NOT NULL,
    attempt smallint NOT NULL,
    attempts_max smallint NOT NULL,
    crashes smallint NOT NULL,
    key_id bigint,
    start_by timestamp with time zone,
    CONSTRAINT ready_attempts CHECK (((attempt >= 0) AND (attempt < attempts_max) AND (crashes >= 0))),
    CONSTRAINT ready_band CHECK (((priority = ((band)::integer & 3)) AND ((key_id IS NOT NULL) = (((band)::integer & 4) > 0))))
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0', autovacuum_analyze_scale_factor='0.5', vacuum_truncate=off);

COMMENT ON TABLE jobqueue.ready IS 'Due jobs. band: priority + 4 with a concurrency key + 8 when it came back with its old sort_at (no claim floor applies).';

CREATE TABLE jobqueue.scheduled (
    sort_at timestamp with time zone NOT NULL,
    job_id uuid NOT NULL,
    queue_id integer NOT NULL,
    type_id integer NOT NULL,
    tenant_id integer NOT NULL,
    band smallint NOT NULL,
    priority smallint NOT NULL,
    attempt smallint NOT NULL,
    attempts_max smallint NOT NULL,
    crashes smallint NOT NULL,
    key_id bigint,
    start_by timestamp with time zone,
    run_at timestamp with time zone NOT NULL,
    reason text NOT NULL,
    CONSTRAINT scheduled_attempts CHECK (((attempt >= 0) AND (attempt < attempts_max) AND (crashes >= 0))),
    CONSTRAINT scheduled_band CHECK (((priority = ((band)::integer & 3)) AND ((key_id IS NOT NULL) = (((band)::integer & 4) > 0)))),
    CONSTRAINT scheduled_reason CHECK ((reason = ANY (ARRAY['asked'::text, 'retry'::text, 'snooze'::text])))
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0', autovacuum_analyze_scale_factor='0.5', vacuum_truncate=off);

COMMENT ON TABLE jobqueue.scheduled IS 'Jobs that wait for a time. reason retry reads as failed, the others as scheduled.';

CREATE TABLE jobqueue.tenant (
    tenant_id integer NOT NULL,
    name text NOT NULL,
    plan text DEFAULT 'free'::text NOT NULL,
    weight smallint DEFAULT 1 NOT NULL,
    max_concurrent integer,
    max_queued integer,
    rate_per_minute integer,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT tenant_limits CHECK (((max_concurrent >= 0) AND (max_queued >= 0) AND (rate_per_minute >= 0))),
    CONSTRAINT tenant_name CHECK ((name ~ '^[a-z0-9-]{1,63}$'::text)),
    CONSTRAINT tenant_weight CHECK (((weight >= 1) AND (weight <= 100)))
);

COMMENT ON TABLE jobqueue.tenant IS 'The gate of a tenant''s claims: locked, never counted up. A limit of 0 is none, null is the plan''s.';

CREATE TABLE jobqueue.worker (
    worker_id integer NOT NULL,
    tenant_id integer,
    name text NOT NULL,
    queues text[] NOT NULL,
    job_types text[] NOT NULL,
    concurrency integer NOT NULL,
    version text,
    state text DEFAULT 'running'::text NOT NULL,
    directive text DEFAULT 'run'::text NOT NULL,
    started_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    last_heartbeat_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT worker_directive CHECK ((directive = ANY (ARRAY['run'::text, 'quiet'::text, 'terminate'::text]))),
    CONSTRAINT worker_name CHECK ((name ~ '^[A-Za-z0-9_.:-]{1,100}$'::text)),
    CONSTRAINT worker_state CHECK ((state = ANY (ARRAY['running'::text, 'quiet'::text, 'stopped'::text])))
);

COMMENT ON TABLE jobqueue.worker IS 'Who works. tenant_id null: a database worker, it serves all tenants.';

CREATE VIEW jobqueue.jobs AS
 SELECT j.job_id AS id,
    t.name AS tenant_id,
    q.name AS queue,
    y.name AS job_type,
        CASE
            WHEN (l.job_id IS NOT NULL) THEN
            CASE
                WHEN (l.started_at IS NULL) THEN 'leased'::text
                ELSE 'running'::text
            END
            WHEN ((r.job_id IS NOT NULL) OR (p.job_id IS NOT NULL) OR (i.job_id IS NOT NULL)) THEN 'queued'::text
            WHEN (s.job_id IS NOT NULL) THEN
            CASE s.reason
                WHEN 'retry'::text THEN 'failed'::text
                ELSE 'scheduled'::text
            END
            WHEN (b.job_id IS NOT NULL) THEN 'blocked'::text
            ELSE COALESCE(e.status, 'succeeded'::text)
        END AS status,
    (ARRAY['critical'::text, 'high'::text, 'normal'::text, 'low'::text])[(j.priority + 1)] AS priority,
    COALESCE(l.attempt, r.attempt, p.attempt, s.attempt, b.attempt, e.attempt, ( SELECT o.attempt
           FROM jobqueue.outcome o
          WHERE ((o.tenant_id = j.tenant_id) AND (o.job_id = j.job_id) AND (o.state = ANY (ARRAY['succeeded'::text, 'failed'::text, 'dlq'::text, 'cancelled'::text, 'expired'::text])))
          ORDER BY o.seq DESC
         LIMIT 1), (0)::smallint) AS attempt,
    j.max_attempts,
    l.progress,
    l.progress_message,
    j.tags,
    j.metadata,
    j.idempotency_key,
    j.correlation_id,
    COALESCE(s.run_at, j.scheduled_at) AS scheduled_at,
    jobqueue.id_time(j.job_id) AS created_at,
    COALESCE(l.started_at, ( SELECT o.started_at
           FROM jobqueue.outcome o
          WHERE ((o.tenant_id = j.tenant_id) AND (o.job_id = j.job_id) AND (o.state = ANY (ARRAY['succeeded'::text, 'failed'::text, 'dlq'::text, 'cancelled'::text, 'expired'::text])))
          ORDER BY o.seq DESC
         LIMIT 1)) AS started_at,
        CASE
            WHEN (COALESCE(l.job_id, r.job_id, p.job_id, s.job_id, b.job_id, i.job_id) IS NULL) THEN ( SELECT o.finished_at
               FROM jobqueue.outcome o
              WHERE ((o.tenant_id = j.tenant_id) AND (o.job_id = j.job_id) AND (o.state = ANY (ARRAY['succeeded'::text, 'failed'::text, 'dlq'::text, 'cancelled'::text, 'expired'::text])))
              ORDER BY o.seq DESC
             LIMIT 1)
            ELSE NULL::timestamp with time zone
        END AS finished_at,
    w.name AS lease_owner,
    l.expires_at AS lease_expires_at,
    ( SELECT o.error
           FROM jobqueue.outcome o
          WHERE ((o.tenant_id = j.tenant_id) AND (o.job_id = j.job_id) AND (o.state = ANY (ARRAY['succeeded'::text, 'failed'::text, 'dlq'::text, 'cancelled'::text, 'expired'::text])))
          ORDER BY o.seq DESC
         LIMIT 1) AS error,
    ( SELECT o.result
           FROM jobqueue.outcome o
          WHERE ((o.tenant_id = j.tenant_id) AND (o.job_id = j.job_id) AND (o.state = ANY (ARRAY['succeeded'::text, 'failed'::text, 'dlq'::text, 'cancelled'::text, 'expired'::text])))
          ORDER BY o.seq DESC
         LIMIT 1) AS result,
    j.data
   FROM (((((((((((jobqueue.job j
     JOIN jobqueue.tenant t ON ((t.tenant_id = j.tenant_id)))
     JOIN jobqueue.queue q ON ((q.queue_id = j.queue_id)))
     JOIN jobqueue.job_type y ON ((y.type_id = j.type_id)))
     LEFT JOIN jobqueue.lease l ON ((l.job_id = j.job_id)))
     LEFT JOIN jobqueue.worker w ON ((w.worker_id = l.worker_id)))
     LEFT JOIN jobqueue.ready r ON (((r.tenant_id = j.tenant_id) AND (r.job_id = j.job_id))))
     LEFT JOIN jobqueue.parked p ON (((p.tenant_id = j.tenant_id) AND (p.job_id = j.job_id))))
     LEFT JOIN jobqueue.scheduled s ON (((s.tenant_id = j.tenant_id) AND (s.job_id = j.job_id))))
     LEFT JOIN jobqueue.blocked b ON (((b.tenant_id = j.tenant_id) AND (b.job_id = j.job_id))))
     LEFT JOIN jobqueue.ended e ON (((e.tenant_id = j.tenant_id) AND (e.job_id = j.job_id))))
     LEFT JOIN jobqueue.inbox i ON ((i.job_id = j.job_id)));

CREATE TABLE jobqueue.leader (
    role text NOT NULL,
    holder uuid NOT NULL,
    term bigint NOT NULL,
    expires_at timestamp with time zone NOT NULL
);

COMMENT ON TABLE jobqueue.leader IS 'Who does the periodic work, an optimisation only: everything is right with any number of reapers.';

CREATE TABLE jobqueue.login_bucket (
    subject uuid NOT NULL,
    free_at timestamp with time zone NOT NULL
);

COMMENT ON TABLE jobqueue.login_bucket IS 'How far an account or an address has run ahead of its rate of logins; in the past: it has not. subject: a hash.';

CREATE TABLE jobqueue.plan (
    name text NOT NULL,
    weight smallint NOT NULL,
    max_concurrent integer,
    max_queued integer,
    rate_per_minute integer,
    CONSTRAINT plan_weight CHECK (((weight >= 1) AND (weight <= 100)))
);

COMMENT ON TABLE jobqueue.plan IS 'Limits a tenant inherits where it has none of its own; null: the settings decide.';

ALTER TABLE jobqueue.queue ALTER COLUMN queue_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME jobqueue.queue_queue_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE jobqueue.queue_sample (
    tenant_id integer NOT NULL,
    queue_id integer NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    arrived bigint NOT NULL,
    ended bigint NOT NULL,
    ran_s double precision NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0', autovacuum_analyze_scale_factor='0.5', vacuum_truncate=off);

COMMENT ON TABLE jobqueue.queue_sample IS 'What ever arrived at and left a queue, read now and then from tally: the difference of two samples is a rate. Swept after minutes.';

CREATE TABLE jobqueue.rate_bucket (
    tenant_id integer NOT NULL,
    tokens double precision NOT NULL,
    filled_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT rate_bucket_tokens CHECK ((tokens >= (0)::double precision))
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0', autovacuum_analyze_scale_factor='0.5', vacuum_truncate=off);

COMMENT ON TABLE jobqueue.rate_bucket IS 'How many requests a tenant may make now, as of filled_at. No row: as many as its burst.';

CREATE TABLE jobqueue.rate_lease (
    tenant_id integer NOT NULL,
    holder uuid NOT NULL,
    held integer NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT rate_lease_held CHECK ((held >= 0))
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0', autovacuum_analyze_scale_factor='0.5', vacuum_truncate=off);

COMMENT ON TABLE jobqueue.rate_lease IS 'Requests an API process drew ahead from a tenant''s bucket and has not spent; changed under the bucket''s lock.';

CREATE TABLE jobqueue.schema_version (
    version_num character varying(32) NOT NULL
);

CREATE TABLE jobqueue.stream_ticket (
    ticket_sha256 text NOT NULL,
    tenant_id integer NOT NULL,
    kind text NOT NULL,
    holder_id text NOT NULL,
    scopes text[] NOT NULL,
    credential_expires_at timestamp with time zone,
    expires_at timestamp with time zone NOT NULL
);

COMMENT ON TABLE jobqueue.stream_ticket IS 'Lets a browser open one live stream, which cannot send a header: whom it speaks for. Deleted when it is used.';

CREATE TABLE jobqueue.tally (
    tenant_id integer NOT NULL,
    queue_id integer NOT NULL,
    status text NOT NULL,
    n bigint NOT NULL,
    entered bigint NOT NULL,
    ran_s double precision DEFAULT 0 NOT NULL,
    CONSTRAINT tally_status CHECK ((status = ANY (ARRAY['queued'::text, 'scheduled'::text, 'blocked'::text, 'failed'::text, 'succeeded'::text, 'dlq'::text, 'cancelled'::text, 'expired'::text])))
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0', autovacuum_analyze_scale_factor='0.5', vacuum_truncate=off);

COMMENT ON TABLE jobqueue.tally IS 'Counts as sums: a row per statement, tenant, queue and status, folded by the reaper. n: how many are there now; entered: how many ever came; ran_s: seconds their runs took. leased and running are counted in lease.';

ALTER TABLE jobqueue.tenant ALTER COLUMN tenant_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME jobqueue.tenant_tenant_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE jobqueue.webhook (
    webhook_id uuid NOT NULL,
    tenant_id integer NOT NULL,
    url text NOT NULL,
    description text,
    event_types text[] NOT NULL,
    queues text[] NOT NULL,
    job_types text[] NOT NULL,
    state text DEFAULT 'active'::text NOT NULL,
    disabled_reason text,
    disabled_at timestamp with time zone,
    secret_sealed text NOT NULL,
    previous_sealed text,
    previous_until timestamp with time zone,
    failures_in_row integer DEFAULT 0 NOT NULL,
    failing_since timestamp with time zone,
    resume_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT webhook_disabled CHECK ((((state = 'disabled'::text) = (disabled_reason IS NOT NULL)) AND ((state = 'disabled'::text) = (disabled_at IS NOT NULL)))),
    CONSTRAINT webhook_disabled_reason CHECK ((disabled_reason = ANY (ARRAY['asked'::text, 'gone'::text, 'failing'::text]))),
    CONSTRAINT webhook_failures CHECK (((failures_in_row >= 0) AND ((failures_in_row > 0) = (failing_since IS NOT NULL)))),
    CONSTRAINT webhook_previous CHECK (((previous_sealed IS NULL) = (previous_until IS NULL))),
    CONSTRAINT webhook_state CHECK ((state = ANY (ARRAY['active'::text, 'disabled'::text])))
);

COMMENT ON TABLE jobqueue.webhook IS 'An endpoint of a tenant that is told of its jobs'' events; an empty filter is all. Secrets are sealed with a key made of the API''s, since signing needs them. resume_at: after many failures in a row nothing is sent before.';

CREATE TABLE jobqueue.webhook_cursor (
    is_it boolean DEFAULT true NOT NULL,
    seq bigint NOT NULL,
    CONSTRAINT webhook_cursor_one_row CHECK (is_it)
);

COMMENT ON TABLE jobqueue.webhook_cursor IS 'One row: up to which seq of event deliveries have been made; moved in the transaction that makes them, under its lock.';

CREATE TABLE jobqueue.webhook_delivery (
    webhook_id uuid NOT NULL,
    seq bigint NOT NULL,
    tenant_id integer NOT NULL,
    job_id uuid,
    type text NOT NULL,
    event_at timestamp with time zone NOT NULL,
    body text NOT NULL,
    status text NOT NULL,
    attempts smallint DEFAULT 0 NOT NULL,
    next_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    tried_at timestamp with time zone,
    answer_status smallint,
    answer_excerpt text,
    answer_s double precision,
    error text,
    CONSTRAINT webhook_delivery_attempts CHECK ((attempts >= 0)),
    CONSTRAINT webhook_delivery_next_at CHECK (((status = 'pending'::text) = (next_at IS NOT NULL))),
    CONSTRAINT webhook_delivery_status CHECK ((status = ANY (ARRAY['pending'::text, 'delivered'::text, 'failed'::text, 'skipped'::text])))
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0', autovacuum_analyze_scale_factor='0.5', vacuum_truncate=off);

COMMENT ON TABLE jobqueue.webhook_delivery IS 'One event for one endpoint. seq: the event''s public number, by which with the endpoint the delivery''s id is made. next_at of one that is being sent is when that is taken for lost; attempts, counted as a try begins, fences its end.';

ALTER TABLE jobqueue.worker ALTER COLUMN worker_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME jobqueue.worker_worker_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE ONLY jobqueue.api_key
    ADD CONSTRAINT api_key_pkey PRIMARY KEY (api_key_id);

ALTER TABLE ONLY jobqueue.app_user
    ADD CONSTRAINT app_user_email_key UNIQUE (email);

ALTER TABLE ONLY jobqueue.app_user
    ADD CONSTRAINT app_user_pkey PRIMARY KEY (user_id);

ALTER TABLE ONLY jobqueue.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (audit_id);

ALTER TABLE ONLY jobqueue.concurrency_key
    ADD CONSTRAINT concurrency_key_pkey PRIMARY KEY (key_id);

ALTER TABLE ONLY jobqueue.concurrency_key
    ADD CONSTRAINT concurrency_key_tenant_id_queue_id_name_key UNIQUE (tenant_id, queue_id, name);

ALTER TABLE ONLY jobqueue.forgotten
    ADD CONSTRAINT forgotten_pkey PRIMARY KEY (is_it);

ALTER TABLE ONLY jobqueue.idempotency
    ADD CONSTRAINT idempotency_pkey PRIMARY KEY (tenant_id, key_hash);

ALTER TABLE ONLY jobqueue.inbox
    ADD CONSTRAINT inbox_pkey PRIMARY KEY (job_id);

ALTER TABLE ONLY jobqueue.job
    ADD CONSTRAINT job_pkey PRIMARY KEY (tenant_id, job_id);

ALTER TABLE ONLY jobqueue.job_type
    ADD CONSTRAINT job_type_name_key UNIQUE (name);

ALTER TABLE ONLY jobqueue.job_type
    ADD CONSTRAINT job_type_pkey PRIMARY KEY (type_id);

ALTER TABLE ONLY jobqueue.leader
    ADD CONSTRAINT leader_pkey PRIMARY KEY (role);

ALTER TABLE ONLY jobqueue.lease
    ADD CONSTRAINT lease_pkey PRIMARY KEY (job_id);

ALTER TABLE ONLY jobqueue.login_bucket
    ADD CONSTRAINT login_bucket_pkey PRIMARY KEY (subject);

ALTER TABLE ONLY jobqueue.plan
    ADD CONSTRAINT plan_pkey PRIMARY KEY (name);

ALTER TABLE ONLY jobqueue.queue
    ADD CONSTRAINT queue_name_key UNIQUE (name);

ALTER TABLE ONLY jobqueue.queue
    ADD CONSTRAINT queue_pkey PRIMARY KEY (queue_id);

ALTER TABLE ONLY jobqueue.queue_sample
    ADD CONSTRAINT queue_sample_pkey PRIMARY KEY (tenant_id, queue_id, at);

ALTER TABLE ONLY jobqueue.rate_bucket
    ADD CONSTRAINT rate_bucket_pkey PRIMARY KEY (tenant_id);

ALTER TABLE ONLY jobqueue.rate_lease
    ADD CONSTRAINT rate_lease_pkey PRIMARY KEY (tenant_id, holder);

ALTER TABLE ONLY jobqueue.schema_version
    ADD CONSTRAINT schema_version_pkc PRIMARY KEY (version_num);

ALTER TABLE ONLY jobqueue.stream_ticket
    ADD CONSTRAINT stream_ticket_pkey PRIMARY KEY (ticket_sha256);

ALTER TABLE ONLY jobqueue.tenant
    ADD CONSTRAINT tenant_name_key UNIQUE (name);

ALTER TABLE ONLY jobqueue.tenant
    ADD CONSTRAINT tenant_pkey PRIMARY KEY (tenant_id);

ALTER TABLE ONLY jobqueue.tenant_queue
    ADD CONSTRAINT tenant_queue_pkey PRIMARY KEY (tenant_id, queue_id);

ALTER TABLE ONLY jobqueue.webhook_cursor
    ADD CONSTRAINT webhook_cursor_pkey PRIMARY KEY (is_it);

ALTER TABLE ONLY jobqueue.webhook_delivery
    ADD CONSTRAINT webhook_delivery_pkey PRIMARY KEY (webhook_id, seq);

ALTER TABLE ONLY jobqueue.webhook
    ADD CONSTRAINT webhook_pkey PRIMARY KEY (webhook_id);

ALTER TABLE ONLY jobqueue.worker
    ADD CONSTRAINT worker_pkey PRIMARY KEY (worker_id);

CREATE INDEX api_key_tenant ON jobqueue.api_key USING btree (tenant_id);

CREATE INDEX app_user_tenant ON jobqueue.app_user USING btree (tenant_id);

CREATE INDEX audit_action ON ONLY jobqueue.audit USING btree (tenant_id, action, audit_id);

CREATE INDEX audit_actor ON ONLY jobqueue.audit USING btree (tenant_id, actor_id, audit_id);

CREATE INDEX audit_of_tenant ON ONLY jobqueue.audit USING btree (tenant_id, audit_id);

CREATE INDEX audit_target ON ONLY jobqueue.audit USING btree (tenant_id, target_id, audit_id);

CREATE UNIQUE INDEX blocked_job ON jobqueue.blocked USING btree (tenant_id, job_id);

CREATE INDEX blocked_start_by ON jobqueue.blocked USING btree (start_by) WHERE (start_by IS NOT NULL);

CREATE UNIQUE INDEX ended_job ON jobqueue.ended USING btree (tenant_id, job_id);

CREATE INDEX ended_status ON jobqueue.ended USING btree (tenant_id, status, job_id);

CREATE INDEX event_job ON ONLY jobqueue.event USING btree (job_id, seq);

CREATE INDEX event_seq_order ON ONLY jobqueue.event USING btree (seq);

CREATE INDEX job_by_type ON ONLY jobqueue.job USING btree (tenant_id, type_id, job_id);

CREATE INDEX lease_claim ON jobqueue.lease USING btree (claim_id) WHERE (claim_id IS NOT NULL);

CREATE INDEX lease_key ON jobqueue.lease USING btree (key_id) WHERE (key_id IS NOT NULL);

CREATE INDEX lease_tenant ON jobqueue.lease USING btree (tenant_id, claim_seq);

CREATE INDEX login_bucket_free ON jobqueue.login_bucket USING btree (free_at);

CREATE INDEX outcome_state ON ONLY jobqueue.outcome USING btree (tenant_id, state, job_id);

CREATE UNIQUE INDEX parked_job ON jobqueue.parked USING btree (tenant_id, job_id);

CREATE INDEX parked_key ON jobqueue.parked USING btree (key_id, priority, sort_at, job_id);

CREATE INDEX parked_start_by ON jobqueue.parked USING btree (start_by) WHERE (start_by IS NOT NULL);

CREATE INDEX ready_claim ON jobqueue.ready USING btree (queue_id, type_id, tenant_id, band, sort_at, job_id);

CREATE UNIQUE INDEX ready_job ON jobqueue.ready USING btree (tenant_id, job_id);

CREATE INDEX ready_key ON jobqueue.ready USING btree (key_id) WHERE (key_id IS NOT NULL);

CREATE INDEX ready_start_by ON jobqueue.ready USING btree (start_by) WHERE (start_by IS NOT NULL);

CREATE INDEX scheduled_due ON jobqueue.scheduled USING btree (run_at);

CREATE UNIQUE INDEX scheduled_job ON jobqueue.scheduled USING btree (tenant_id, job_id);

CREATE INDEX scheduled_start_by ON jobqueue.scheduled USING btree (start_by) WHERE (start_by IS NOT NULL);

CREATE INDEX tally_tenant ON jobqueue.tally USING btree (tenant_id);

CREATE INDEX webhook_delivery_due ON jobqueue.webhook_delivery USING btree (webhook_id, next_at, seq) WHERE (status = 'pending'::text);

CREATE INDEX webhook_tenant ON jobqueue.webhook USING btree (tenant_id, webhook_id);

CREATE UNIQUE INDEX worker_name ON jobqueue.worker USING btree (COALESCE(tenant_id, 0), name);

CREATE TRIGGER insert_only BEFORE DELETE OR UPDATE OR TRUNCATE ON jobqueue.audit FOR EACH STATEMENT EXECUTE FUNCTION jobqueue.refuse_change_v1();

CREATE TRIGGER insert_only_row BEFORE DELETE OR UPDATE ON jobqueue.audit FOR EACH ROW EXECUTE FUNCTION jobqueue.refuse_change_v1();

ALTER TABLE jobqueue.api_key ENABLE ROW LEVEL SECURITY;

ALTER TABLE jobqueue.app_user ENABLE ROW LEVEL SECURITY;

ALTER TABLE jobqueue.audit ENABLE ROW LEVEL SECURITY;

ALTER TABLE jobqueue.blocked ENABLE ROW LEVEL SECURITY;

ALTER TABLE jobqueue.concurrency_key ENABLE ROW LEVEL SECURITY;

ALTER TABLE jobqueue.ended ENABLE ROW LEVEL SECURITY;

ALTER TABLE jobqueue.event ENABLE ROW LEVEL SECURITY;

ALTER TABLE jobqueue.idempotency ENABLE ROW LEVEL SECURITY;

ALTER TABLE jobqueue.inbox ENABLE ROW LEVEL SECURITY;

ALTER TABLE jobqueue.job ENABLE ROW LEVEL SECURITY;

ALTER TABLE jobqueue.lease ENABLE ROW LEVEL SECURITY;

CREATE POLICY one_tenant ON jobqueue.api_key TO jobqueue_tenant USING ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY one_tenant ON jobqueue.app_user TO jobqueue_tenant USING ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY one_tenant ON jobqueue.audit TO jobqueue_tenant USING ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY one_tenant ON jobqueue.blocked TO jobqueue_tenant USING ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY one_tenant ON jobqueue.concurrency_key TO jobqueue_tenant USING ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY one_tenant ON jobqueue.ended TO jobqueue_tenant USING ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY one_tenant ON jobqueue.event TO jobqueue_tenant USING ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY one_tenant ON jobqueue.idempotency TO jobqueue_tenant USING ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY one_tenant ON jobqueue.inbox TO jobqueue_tenant USING ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY one_tenant ON jobqueue.job TO jobqueue_tenant USING ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY one_tenant ON jobqueue.lease TO jobqueue_tenant USING ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY one_tenant ON jobqueue.outcome TO jobqueue_tenant USING ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY one_tenant ON jobqueue.parked TO jobqueue_tenant USING ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY one_tenant ON jobqueue.queue_sample TO jobqueue_tenant USING ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY one_tenant ON jobqueue.rate_bucket TO jobqueue_tenant USING ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY one_tenant ON jobqueue.rate_lease TO jobqueue_tenant USING ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY one_tenant ON jobqueue.ready TO jobqueue_tenant USING ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY one_tenant ON jobqueue.scheduled TO jobqueue_tenant USING ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY one_tenant ON jobqueue.stream_ticket TO jobqueue_tenant USING ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY one_tenant ON jobqueue.tally TO jobqueue_tenant USING ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY one_tenant ON jobqueue.tenant TO jobqueue_tenant USING ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY one_tenant ON jobqueue.tenant_queue TO jobqueue_tenant USING ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY one_tenant ON jobqueue.webhook TO jobqueue_tenant USING ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY one_tenant ON jobqueue.webhook_delivery TO jobqueue_tenant USING ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY one_tenant ON jobqueue.worker TO jobqueue_tenant USING (((tenant_id IS NULL) OR (tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif")))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('jobqueue.tenant_id'::text, true), ''::text))::integer AS "nullif")));

ALTER TABLE jobqueue.outcome ENABLE ROW LEVEL SECURITY;

ALTER TABLE jobqueue.parked ENABLE ROW LEVEL SECURITY;

ALTER TABLE jobqueue.queue_sample ENABLE ROW LEVEL SECURITY;

ALTER TABLE jobqueue.rate_bucket ENABLE ROW LEVEL SECURITY;

ALTER TABLE jobqueue.rate_lease ENABLE ROW LEVEL SECURITY;

ALTER TABLE jobqueue.ready ENABLE ROW LEVEL SECURITY;

ALTER TABLE jobqueue.scheduled ENABLE ROW LEVEL SECURITY;

ALTER TABLE jobqueue.stream_ticket ENABLE ROW LEVEL SECURITY;

ALTER TABLE jobqueue.tally ENABLE ROW LEVEL SECURITY;

ALTER TABLE jobqueue.tenant ENABLE ROW LEVEL SECURITY;

ALTER TABLE jobqueue.tenant_queue ENABLE ROW LEVEL SECURITY;

ALTER TABLE jobqueue.webhook ENABLE ROW LEVEL SECURITY;

ALTER TABLE jobqueue.webhook_delivery ENABLE ROW LEVEL SECURITY;

ALTER TABLE jobqueue.worker ENABLE ROW LEVEL SECURITY;
