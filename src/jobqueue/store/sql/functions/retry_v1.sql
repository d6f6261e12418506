-- Send an ended job, or a failed one that waits for its backoff, back to the queue.
-- edges:   dlq|cancelled|expired|succeeded|failed -> queued
-- params:  p_is_reset: attempts and crashes start again from none
-- answer:  queued; wrong_state; exhausted; unknown. status: what the job is now
-- locks:   the job's own row, then its place row or, of a success, its outcome: of two retries one finds it
CREATE FUNCTION jobqueue.retry_v1(p_tenant_id int, p_job_id uuid, p_is_reset boolean, OUT verdict text, OUT status text)
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
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
