-- Settle a batch of leases: each goes where domain/outcome.decide said, guarded by its token.
-- edges:   leased|running -> succeeded|failed|dlq|scheduled|queued|cancelled
-- params:  p_is_reaper: the settle is by someone else, nobody may find it as a replay of his own. p_kinds: what was reported, also the
--          event's type. p_nexts, p_attempts, p_crashes, p_delays_s: what follows. p_ran_s: since the handler started, null if it never did.
--          p_key_ids: the concurrency keys of these jobs, null when none. Any array may be null where every element is; p_kinds and
--          p_nexts are null where all succeeded, which is what mostly happens: then nothing looks for what goes elsewhere
-- answer:  by token, only what differs: 'settled' with another next status (a job asked to cancel), 'replayed', 'lease_lost'. Without a token:
--          'due' with the lanes that got due jobs, as a wake-up names them
-- locks:   concurrency keys, in order -> lease rows, by id: an index scan takes an array's elements in order
-- tenant:  all, the token is the right
-- The leases are found through the array, and the pairs checked in a hash, so that no plan can walk all leases for each row told: joined
-- the plain way that is what a plan does which was made while the table was nearly empty (measured: 250 us a job instead of 12).
CREATE FUNCTION jobqueue.settle_v1(
  p_is_reaper boolean, p_ids uuid[], p_tokens uuid[], p_kinds text[], p_nexts text[], p_attempts smallint[], p_crashes smallint[],
  p_delays_s double precision[], p_ran_s double precision[], p_results json[], p_refs text[], p_errors json[], p_key_ids bigint[])
RETURNS TABLE (job_id uuid, token uuid, status text, next_status text)
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_nestloop = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan AS $$
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
