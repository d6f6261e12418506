-- Lock leases whose time is over, so that the caller can decide and settle them in the same transaction.
-- params:  p_resumed_for_s: since the caller, its connection and the server last came up; a lease longer than that is let be, for its
--          holder may not have had the time to renew it. p_now: tests only
-- locks:   concurrency keys, in order -> lease rows, by id, SKIP LOCKED
-- tenant:  all, periodic. lease is scanned: the limits bound it
CREATE FUNCTION jobqueue.lost_v1(p_limit int, p_resumed_for_s double precision, p_now timestamptz)
RETURNS TABLE (job_id uuid, token uuid, tenant_id int, attempt smallint, attempts_max smallint, crashes smallint, key_id bigint,
  worker_id int, ran_s double precision, is_overdue boolean)
LANGUAGE plpgsql VOLATILE AS $$
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
