-- Move parked jobs into the free slots of their keys. The caller holds the keys' locks. Answers the lanes they went to.
-- edges:   queued -> queued
-- locks:   parked rows SKIP LOCKED
-- tenant:  all, keys belong to one tenant each
CREATE FUNCTION jobqueue.unpark_v1(p_key_ids bigint[])
RETURNS TABLE (tenant_id int, queue_id int, type_id int, band smallint, jobs bigint)
LANGUAGE sql VOLATILE SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_nestloop = on SET enable_hashjoin = off SET enable_mergejoin = off AS $$ -- also inside settle, which has its own
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
