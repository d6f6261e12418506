-- Fold count rows into one per tenant, queue and status; a reader sees either all of them or the sum. Returns how many rows went into sums.
-- Rows that stand alone are left as they are: an idle queue writes nothing.
-- locks:   tally rows SKIP LOCKED
-- tenant:  all, periodic
CREATE FUNCTION jobqueue.fold_tally_v1(p_limit int) RETURNS bigint
LANGUAGE sql VOLATILE AS $$
  WITH
  crowded AS (
    SELECT t.tenant_id, t.queue_id, t.status
    FROM jobqueue.tally t
    GROUP BY 1, 2, 3
    HAVING count(*) > 1),
  gone AS (
    DELETE FROM jobqueue.tally t
    WHERE t.ctid = ANY (ARRAY(
      SELECT x.ctid
      FROM jobqueue.tally x JOIN crowded c ON c.tenant_id = x.tenant_id AND c.queue_id = x.queue_id AND c.status = x.status
      ORDER BY x.tenant_id, x.queue_id, x.status -- whole groups, or a small limit would fold nothing
      LIMIT p_limit
      FOR UPDATE OF x SKIP LOCKED))
    RETURNING t.*),
  kept AS (
    INSERT INTO jobqueue.tally (tenant_id, queue_id, status, n, entered, ran_s)
    SELECT g.tenant_id, g.queue_id, g.status, sum(g.n), sum(g.entered), sum(g.ran_s)
    FROM gone g
    GROUP BY 1, 2, 3
    HAVING sum(g.n) <> 0 OR sum(g.entered) <> 0)
  SELECT count(*) FROM gone
$$;
