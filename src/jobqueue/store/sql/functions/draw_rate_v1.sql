-- Draw requests from tenants' rate buckets for one API process, and put back what it does not need.
-- params:  arrays of one length, each tenant once: p_hands (drawn earlier, kept unspent), p_backs (unspent, given back), p_needs (requests that
--          wait for one now), p_wants (how many more to have at hand). p_default: requests a minute of a tenant whose own and whose plan's
--          rate are null; 0 is none. p_held_s: how long what is at hand counts as held when its process is not heard of any more
-- answer:  per_minute (null: no limit), given (of the needs), ahead (of the wants), tokens (left in the bucket)
-- locks:   rate_bucket rows, in order of tenant
-- tenant:  many, each request was counted for the tenant of its credential
-- What is in the bucket and what all processes hold is never more than the burst (2 x the rate), so what passes in any time is at most burst +
-- rate x time. What a process does not account for is spent. Ahead: 1/16 of what is there while half the burst is, else 50 ms of the rate.
-- Not worth a wait for the disk: a crash of the server may forget the draws of its last moments.
CREATE FUNCTION jobqueue.draw_rate_v1(
  p_holder uuid, p_default int, p_held_s double precision, p_tenants int[], p_hands int[], p_backs int[], p_needs int[], p_wants int[])
RETURNS TABLE (tenant_id int, per_minute int, given int, ahead int, tokens double precision)
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
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
