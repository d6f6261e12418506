-- Forget the keys of jobs that ended long enough ago; walks the keys in order, a page a call.
-- params:  @after_*: where the last page ended; @kept_s: how long a key outlives its job
-- answer:  the last key of the page and how many went; no row: the walk is over
-- tenant:  all, periodic
WITH
page AS MATERIALIZED (
  SELECT i.tenant_id, i.key_hash, i.job_id
  FROM jobqueue.idempotency i
  WHERE (i.tenant_id, i.key_hash) > (@after_tenant_id, @after_key_hash)
  ORDER BY i.tenant_id, i.key_hash
  LIMIT @limit),
old AS (
  SELECT p.tenant_id, p.key_hash
  FROM page p
  WHERE jobqueue.id_time(p.job_id) < clock_timestamp() - @kept_s * interval '1 second'
    AND coalesce(jobqueue.status_v1(p.tenant_id, p.job_id), 'gone') IN ('succeeded', 'dlq', 'cancelled', 'expired', 'gone')
    AND NOT EXISTS (SELECT FROM jobqueue.inbox n WHERE n.job_id = p.job_id)
    AND NOT EXISTS (
      SELECT
      FROM jobqueue.outcome o
      WHERE o.tenant_id = p.tenant_id AND o.job_id = p.job_id AND o.state IN ('succeeded', 'failed', 'dlq', 'cancelled', 'expired')
        AND o.finished_at >= clock_timestamp() - @kept_s * interval '1 second')),
swept AS (
  DELETE FROM jobqueue.idempotency i
  USING old
  WHERE i.tenant_id = old.tenant_id AND i.key_hash = old.key_hash
  RETURNING i.job_id)
SELECT p.tenant_id, p.key_hash, (SELECT count(*) FROM swept) AS swept
FROM page p
ORDER BY p.tenant_id DESC, p.key_hash DESC
LIMIT 1
