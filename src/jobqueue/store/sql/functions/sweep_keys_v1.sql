-- Let parked jobs of keys with free slots in: the safety net for a settle that named no keys and for a raised limit.
-- edges:   queued -> queued
-- locks:   concurrency key SKIP LOCKED -> parked rows
-- tenant:  all, periodic
CREATE FUNCTION jobqueue.sweep_keys_v1(p_limit int) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_keys bigint[];
BEGIN
  WITH RECURSIVE
  waiting(key_id) AS (
    (SELECT p.key_id FROM jobqueue.parked p ORDER BY p.key_id LIMIT 1)
    UNION ALL
    SELECT (SELECT p.key_id FROM jobqueue.parked p WHERE p.key_id > w.key_id ORDER BY p.key_id LIMIT 1)
    FROM waiting w
    WHERE w.key_id IS NOT NULL),
  locked AS (
    SELECT k.key_id
    FROM jobqueue.concurrency_key k
    WHERE k.key_id = ANY (ARRAY(SELECT w.key_id FROM waiting w WHERE w.key_id IS NOT NULL LIMIT p_limit))
    ORDER BY k.key_id
    FOR NO KEY UPDATE SKIP LOCKED)
  SELECT array_agg(l.key_id) INTO v_keys FROM locked l;
  RETURN CASE WHEN v_keys IS NULL THEN 0 ELSE (SELECT coalesce(sum(u.jobs), 0) FROM jobqueue.unpark_v1(v_keys) u) END;
END $$;
