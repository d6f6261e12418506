-- List the lanes (queue, type, tenant, band) that have due jobs, with the tenant's weight: a loose index scan, one probe a lane.
-- params:  p_tenant_id null: of all tenants; p_queues null: every queue that has due jobs; p_limit bounds the answer
-- tenant:  all, a worker may serve many; or one
-- It starts at (queue, type), so rows of types the worker does not take are never walked. Called about once a second by a claimer.
CREATE FUNCTION jobqueue.active_lanes_v1(p_tenant_id int, p_queues int[], p_types int[], p_limit int)
RETURNS TABLE (queue_id int, type_id int, tenant_id int, band smallint, weight int)
LANGUAGE sql STABLE SET jit = off SET enable_seqscan = off SET enable_sort = off AS $$
  WITH RECURSIVE
  seen(qid) AS (
    (SELECT r.queue_id FROM jobqueue.ready r WHERE p_queues IS NULL ORDER BY r.queue_id LIMIT 1)
    UNION ALL
    SELECT (SELECT r.queue_id FROM jobqueue.ready r WHERE r.queue_id > s.qid ORDER BY r.queue_id LIMIT 1)
    FROM seen s
    WHERE s.qid IS NOT NULL),
  queues(qid) AS (
    SELECT unnest(p_queues)
    UNION ALL
    SELECT s.qid FROM seen s WHERE s.qid IS NOT NULL),
  lanes(qid, typ, tid, band) AS (
    SELECT q.qid, t.typ, x.tenant_id, x.band
    FROM queues q CROSS JOIN unnest(p_types) t(typ) CROSS JOIN LATERAL (
      SELECT r.tenant_id, r.band
      FROM jobqueue.ready r
      WHERE r.queue_id = q.qid AND r.type_id = t.typ AND r.tenant_id >= coalesce(p_tenant_id, 0) AND r.tenant_id <= coalesce(p_tenant_id, 2147483647)
      ORDER BY r.tenant_id, r.band
      LIMIT 1) x
    UNION ALL
    SELECT l.qid, l.typ, x.tenant_id, x.band
    FROM lanes l CROSS JOIN LATERAL (
      SELECT r.tenant_id, r.band
      FROM jobqueue.ready r
      WHERE r.queue_id = l.qid AND r.type_id = l.typ AND (r.tenant_id, r.band) > (l.tid, l.band) AND r.tenant_id <= coalesce(p_tenant_id, 2147483647)
      ORDER BY r.tenant_id, r.band
      LIMIT 1) x)
  SELECT l.qid, l.typ, l.tid, l.band, g.weight::int
  FROM lanes l JOIN jobqueue.tenant g ON g.tenant_id = l.tid
  LIMIT p_limit
$$;
