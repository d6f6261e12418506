-- Move committed jobs on from the inbox: each gets its place, event and count. Answers the lanes that got jobs, for the wake-up.
-- edges:   none -> queued|scheduled
-- params:  p_job_id: only this one; p_default_*: what the settings say where neither the job nor its queue does
-- locks:   inbox rows SKIP LOCKED, then names that are new
-- tenant:  all, periodic
CREATE FUNCTION jobqueue.receive_v1(p_limit int, p_tenant_id int, p_job_id uuid, p_default_attempts_max int, p_default_expires_in_s double precision)
RETURNS TABLE (queue_id int, type_id int, tenant_id int, band smallint, jobs bigint, due bigint)
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
  v_ids uuid[];
BEGIN
  IF current_setting('synchronous_commit') IN ('off', 'local') THEN
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;
  IF p_job_id IS NULL THEN
    v_ids := ARRAY(SELECT i.job_id FROM jobqueue.inbox i ORDER BY i.job_id LIMIT p_limit FOR UPDATE SKIP LOCKED);
  ELSE -- who asks for one by id waits for whoever moves it
    v_ids := ARRAY(SELECT i.job_id FROM jobqueue.inbox i WHERE i.job_id = p_job_id AND i.tenant_id = p_tenant_id FOR UPDATE);
  END IF;
  IF v_ids = '{}' THEN
    RETURN;
  END IF;
  INSERT INTO jobqueue.queue (name)
  SELECT DISTINCT i.queue FROM jobqueue.inbox i
  WHERE i.job_id = ANY (v_ids) AND NOT EXISTS (SELECT FROM jobqueue.queue q WHERE q.name = i.queue)
  ORDER BY 1
  ON CONFLICT DO NOTHING;
  INSERT INTO jobqueue.job_type (name)
  SELECT DISTINCT i.job_type FROM jobqueue.inbox i
  WHERE i.job_id = ANY (v_ids) AND NOT EXISTS (SELECT FROM jobqueue.job_type y WHERE y.name = i.job_type)
  ORDER BY 1
  ON CONFLICT DO NOTHING;
  INSERT INTO jobqueue.concurrency_key (tenant_id, queue_id, name)
  SELECT DISTINCT i.tenant_id, q.queue_id, i.concurrency_key
  FROM jobqueue.inbox i JOIN jobqueue.queue q ON q.name = i.queue
  WHERE i.job_id = ANY (v_ids) AND i.concurrency_key IS NOT NULL
    AND NOT EXISTS (SELECT FROM jobqueue.concurrency_key k WHERE k.tenant_id = i.tenant_id AND k.queue_id = q.queue_id AND k.name = i.concurrency_key)
  ORDER BY 1, 2, 3
  ON CONFLICT DO NOTHING;
  RETURN QUERY
  WITH
  gone AS (DELETE FROM jobqueue.inbox i WHERE i.job_id = ANY (v_ids) RETURNING i.*),
  fresh AS MATERIALIZED (
    SELECT g.job_id, g.tenant_id AS tid, q.queue_id AS qid, y.type_id AS typ, k.key_id, g.priority, g.idempotency_key, g.correlation_id, g.traceparent,
      g.tags, g.metadata, g.data, g.timeout_s, clock_timestamp() AS at, CASE WHEN g.run_at > clock_timestamp() THEN g.run_at END AS run_at,
      coalesce(g.start_by, coalesce(g.run_at, clock_timestamp()) + p_default_expires_in_s * interval '1 second') AS start_by,
      coalesce(g.max_attempts, s.max_attempts, p_default_attempts_max)::smallint AS attempts_max,
      (g.priority + CASE WHEN k.key_id IS NULL THEN 0 ELSE 4 END)::smallint AS band
    FROM gone g
    JOIN jobqueue.queue q ON q.name = g.queue
    JOIN jobqueue.job_type y ON y.name = g.job_type
    LEFT JOIN jobqueue.concurrency_key k ON k.tenant_id = g.tenant_id AND k.queue_id = q.queue_id AND k.name = g.concurrency_key
    LEFT JOIN jobqueue.tenant_queue s ON s.tenant_id = g.tenant_id AND s.queue_id = q.queue_id
    ORDER BY g.job_id),
  stored AS (
    INSERT INTO jobqueue.job (tenant_id, job_id, queue_id, type_id, key_id, priority, max_attempts, timeout_s, scheduled_at, idempotency_key,
      correlation_id, traceparent, tags, metadata, data)
    SELECT f.tid, f.job_id, f.qid, f.typ, f.key_id, f.priority, f.attempts_max, f.timeout_s, f.run_at, f.idempotency_key, f.correlation_id,
      f.traceparent, f.tags, f.metadata, f.data
    FROM fresh f),
  due AS (
    INSERT INTO jobqueue.ready (sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes, key_id, start_by)
    SELECT f.at, f.job_id, f.qid, f.typ, f.tid, f.band, f.priority, 0, f.attempts_max, 0, f.key_id, f.start_by FROM fresh f WHERE f.run_at IS NULL),
  later AS (
    INSERT INTO jobqueue.scheduled (sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes, key_id, start_by, run_at, reason)
    SELECT f.run_at, f.job_id, f.qid, f.typ, f.tid, f.band, f.priority, 0, f.attempts_max, 0, f.key_id, f.start_by, f.run_at, 'asked'
    FROM fresh f
    WHERE f.run_at IS NOT NULL),
  history AS (
    INSERT INTO jobqueue.event (tenant_id, job_id, type, at, data)
    SELECT f.tid, f.job_id, 'submitted', f.at, CASE WHEN f.run_at IS NOT NULL THEN '{"status":"scheduled"}'::json END FROM fresh f),
  counted AS (
    INSERT INTO jobqueue.tally (tenant_id, queue_id, status, n, entered)
    SELECT f.tid, f.qid, CASE WHEN f.run_at IS NULL THEN 'queued' ELSE 'scheduled' END, count(*), count(*) FROM fresh f GROUP BY 1, 2, 3)
  SELECT f.qid, f.typ, f.tid, f.band, count(*), count(*) FILTER (WHERE f.run_at IS NULL) FROM fresh f GROUP BY 1, 2, 3, 4;
END $$;
