-- Say since when the oldest due job of a tenant's queue has waited; null: none waits. One probe a lane.
-- It runs as the engine's role: the loose scan steps over types that only others use, which a policy would have it walk row by row.
CREATE FUNCTION jobqueue.oldest_ready_v1(p_tenant_id int, p_queue_id int) RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off SET enable_seqscan = off SET enable_sort = off AS $$
  WITH RECURSIVE types(typ) AS (
    (SELECT r.type_id FROM jobqueue.ready r WHERE r.queue_id = p_queue_id ORDER BY r.type_id LIMIT 1)
    UNION ALL
    SELECT (SELECT r.type_id FROM jobqueue.ready r WHERE r.queue_id = p_queue_id AND r.type_id > t.typ ORDER BY r.type_id LIMIT 1)
    FROM types t
    WHERE t.typ IS NOT NULL)
  SELECT min(x.sort_at)
  FROM types t CROSS JOIN generate_series(0, 15) b(band) CROSS JOIN LATERAL (
    SELECT r.sort_at
    FROM jobqueue.ready r
    WHERE r.queue_id = p_queue_id AND r.type_id = t.typ AND r.tenant_id = p_tenant_id AND r.band = b.band
    ORDER BY r.sort_at
    LIMIT 1) x
  WHERE t.typ IS NOT NULL
$$;
