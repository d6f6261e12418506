-- Say since when the oldest due job of each queue has been due, over all tenants: a loose index scan, one probe a lane.
-- params:  p_lanes_max bounds the walk: queues beyond it are not looked at
-- tenant:  all, periodic
-- Planner settings are fixed: a plan made while nothing was due must be right when much is.
CREATE FUNCTION jobqueue.oldest_due_v1(p_lanes_max int) RETURNS TABLE (queue_id int, due_at timestamptz)
LANGUAGE sql STABLE SET jit = off SET enable_seqscan = off SET enable_sort = off AS $$
  WITH RECURSIVE lanes AS (
    (SELECT r.queue_id, r.type_id, r.tenant_id, r.band, r.sort_at
    FROM jobqueue.ready r
    ORDER BY r.queue_id, r.type_id, r.tenant_id, r.band, r.sort_at
    LIMIT 1)
    UNION ALL
    SELECT x.queue_id, x.type_id, x.tenant_id, x.band, x.sort_at
    FROM lanes l CROSS JOIN LATERAL (
      SELECT r.queue_id, r.type_id, r.tenant_id, r.band, r.sort_at
      FROM jobqueue.ready r
      WHERE (r.queue_id, r.type_id, r.tenant_id, r.band) > (l.queue_id, l.type_id, l.tenant_id, l.band)
      ORDER BY r.queue_id, r.type_id, r.tenant_id, r.band, r.sort_at
      LIMIT 1) x),
  walked AS (
    SELECT l.queue_id, l.sort_at
    FROM lanes l
    LIMIT p_lanes_max)
  SELECT w.queue_id, min(w.sort_at) FROM walked w GROUP BY w.queue_id
$$;
