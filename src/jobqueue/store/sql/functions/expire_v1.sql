-- End jobs that were not started in time. Answers how many of each tenant.
-- edges:   queued|scheduled|blocked -> expired
-- locks:   place rows SKIP LOCKED; indexes *_start_by
-- tenant:  all, periodic
CREATE FUNCTION jobqueue.expire_v1(p_limit int, p_now timestamptz) RETURNS TABLE (tenant text, jobs bigint)
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
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
