-- List the lanes of a tenant's queue that have due jobs, for wake-ups: one probe a type and lane.
-- tenant:  all, the loose scan steps over types that only others use; each probe binds @tenant_id
WITH RECURSIVE types(typ) AS (
  (SELECT r.type_id FROM jobqueue.ready r WHERE r.queue_id = @queue_id ORDER BY r.type_id LIMIT 1)
  UNION ALL
  SELECT (SELECT r.type_id FROM jobqueue.ready r WHERE r.queue_id = @queue_id AND r.type_id > t.typ ORDER BY r.type_id LIMIT 1)
  FROM types t
  WHERE t.typ IS NOT NULL)
SELECT t.typ AS type_id, b.band::smallint AS band
FROM types t CROSS JOIN generate_series(0, 15) b(band)
WHERE t.typ IS NOT NULL AND EXISTS (
  SELECT
  FROM jobqueue.ready r
  WHERE r.queue_id = @queue_id AND r.type_id = t.typ AND r.tenant_id = @tenant_id AND r.band = b.band)
LIMIT @limit
