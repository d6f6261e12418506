-- Make due what waited for its time. Answers the lanes that got jobs, for the wake-up.
-- edges:   scheduled|failed -> queued
-- locks:   scheduled rows SKIP LOCKED; index scheduled_due
-- tenant:  all, periodic
CREATE FUNCTION jobqueue.promote_v1(p_limit int, p_now timestamptz)
RETURNS TABLE (queue_id int, type_id int, tenant_id int, band smallint, jobs bigint)
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off AS $$
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
