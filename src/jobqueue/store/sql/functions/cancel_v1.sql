-- Cancel a job wherever it is: at once while it waits, by asking its holder while it is held.
-- edges:   queued|scheduled|failed|blocked -> cancelled, leased -> leased, running -> running
-- params:  p_grace_s: how long a holder may go on before the reaper fences it off
-- answer:  cancelled; cancelling; unchanged (was cancelled); finished (too late); unknown. status: what the job is now
-- locks:   one place row or one lease row
-- A job that moves while we wait is found in its new place by the next round's snapshot.
CREATE FUNCTION jobqueue.cancel_v1(p_tenant_id int, p_job_id uuid, p_grace_s double precision, OUT verdict text, OUT status text)
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
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
