-- Declare a job done that failed: from the dead letter queue, or while it waits for its retry.
-- edges:   dlq|failed -> succeeded
-- params:  p_note: who did it and why, kept in the history
-- answer:  succeeded; wrong_state; unknown. status: what the job is now
-- locks:   one place row
CREATE FUNCTION jobqueue.force_success_v1(p_tenant_id int, p_job_id uuid, p_result json, p_note json, OUT verdict text, OUT status text)
LANGUAGE plpgsql VOLATILE AS $$
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
