-- Change a waiting job: its priority, the time it waits for, its attempts. It keeps its age within its new priority.
-- edges:   queued -> queued|scheduled, scheduled -> scheduled|queued, failed -> failed|queued, blocked -> blocked
-- params:  null: unchanged. p_is_timed: p_run_at applies; null or past is now
-- answer:  updated; wrong_state; exhausted (p_attempts_max leaves no attempt); unknown. status: what the job is now
-- locks:   the job's row -> one place row
CREATE FUNCTION jobqueue.patch_v1(
  p_tenant_id int, p_job_id uuid, p_priority smallint, p_attempts_max smallint, p_is_timed boolean, p_run_at timestamptz,
  OUT verdict text, OUT status text)
LANGUAGE plpgsql VOLATILE AS $$
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
