-- Read jobs by id as users see them. waiting_reason is worked out now, for queued ones only.
-- params:  p_tenant_cap: the settings' limit of running jobs, 0 none; p_worker_alive_s: a worker silent for longer is gone
-- One plan for all calls: planning so many joins over partitions takes ten times as long as reading a job.
CREATE FUNCTION jobqueue.read_jobs_v1(
  p_tenant_id int, p_job_ids uuid[], p_tenant_cap int, p_worker_alive_s double precision, p_has_data boolean, p_has_result boolean)
RETURNS TABLE (
  job_id uuid, queue text, job_type text, status text, priority smallint, attempt smallint, max_attempts smallint, progress double
  precision, progress_message text, waiting_reason text, concurrency_key text, tags text[], metadata json, idempotency_key text,
  correlation_id text, traceparent text, scheduled_at timestamptz, started_at timestamptz, finished_at timestamptz, lease_owner
  text, lease_expires_at timestamptz, error json, result_ref text, result json, data json)
LANGUAGE plpgsql STABLE SET jit = off SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT
    j.job_id,
    q.name AS queue,
    y.name AS job_type,
    x.status,
    j.priority,
    coalesce(l.attempt, r.attempt, p.attempt, s.attempt, b.attempt, e.attempt, o.attempt, 0::smallint) AS attempt,
    j.max_attempts,
    CASE WHEN x.status = 'succeeded' THEN 100::double precision ELSE l.progress END AS progress,
    l.progress_message,
    CASE WHEN x.status <> 'queued' THEN NULL
      WHEN g.is_paused THEN 'paused'
      WHEN NOT EXISTS (
        SELECT
        FROM jobqueue.worker w
        WHERE w.last_heartbeat_at > clock_timestamp() - p_worker_alive_s * interval '1 second'
          AND w.state = 'running' AND (w.tenant_id IS NULL OR w.tenant_id = j.tenant_id)
          AND y.name = ANY (w.job_types) AND (q.name = ANY (w.queues) OR '*' = ANY (w.queues))) THEN 'no_worker'
      WHEN p.job_id IS NOT NULL
        OR (SELECT count(*) FROM jobqueue.lease h WHERE h.tenant_id = p_tenant_id) >= nullif(coalesce(t.max_concurrent, n.max_concurrent, p_tenant_cap), 0)
        OR (g.max_concurrent > 0
          AND (SELECT count(*) FROM jobqueue.lease h WHERE h.tenant_id = j.tenant_id AND h.queue_id = j.queue_id) >= g.max_concurrent)
        THEN 'throttled'
    END AS waiting_reason,
    k.name AS concurrency_key,
    j.tags,
    j.metadata,
    j.idempotency_key,
    j.correlation_id,
    j.traceparent,
    coalesce(s.run_at, j.scheduled_at) AS scheduled_at,
    coalesce(l.started_at, o.started_at) AS started_at,
    CASE WHEN x.status IN ('succeeded', 'dlq', 'cancelled', 'expired') THEN o.finished_at END AS finished_at,
    w.name AS lease_owner,
    l.expires_at AS lease_expires_at,
    CASE WHEN x.status <> 'succeeded' THEN o.error END AS error,
    CASE WHEN x.status = 'succeeded' THEN o.result_ref END AS result_ref,
    CASE WHEN x.status = 'succeeded' AND p_has_result THEN o.result END AS result,
    CASE WHEN p_has_data THEN j.data END AS data
  FROM jobqueue.job j
  JOIN jobqueue.tenant t ON t.tenant_id = j.tenant_id
  JOIN jobqueue.queue q ON q.queue_id = j.queue_id
  JOIN jobqueue.job_type y ON y.type_id = j.type_id
  LEFT JOIN jobqueue.plan n ON n.name = t.plan
  LEFT JOIN jobqueue.tenant_queue g ON g.tenant_id = j.tenant_id AND g.queue_id = j.queue_id
  LEFT JOIN jobqueue.concurrency_key k ON k.key_id = j.key_id
  LEFT JOIN jobqueue.lease l ON l.job_id = j.job_id AND l.tenant_id = j.tenant_id
  LEFT JOIN jobqueue.worker w ON w.worker_id = l.worker_id
  LEFT JOIN jobqueue.ready r ON r.tenant_id = j.tenant_id AND r.job_id = j.job_id
  LEFT JOIN jobqueue.parked p ON p.tenant_id = j.tenant_id AND p.job_id = j.job_id
  LEFT JOIN jobqueue.scheduled s ON s.tenant_id = j.tenant_id AND s.job_id = j.job_id
  LEFT JOIN jobqueue.blocked b ON b.tenant_id = j.tenant_id AND b.job_id = j.job_id
  LEFT JOIN jobqueue.ended e ON e.tenant_id = j.tenant_id AND e.job_id = j.job_id
  LEFT JOIN jobqueue.inbox i ON i.tenant_id = j.tenant_id AND i.job_id = j.job_id
  LEFT JOIN LATERAL (
    SELECT c.attempt, c.started_at, c.finished_at, c.result, c.result_ref, c.error
    FROM jobqueue.outcome c
    WHERE c.tenant_id = j.tenant_id AND c.job_id = j.job_id AND c.state IN ('succeeded', 'failed', 'dlq', 'cancelled', 'expired')
    ORDER BY c.seq DESC
    LIMIT 1) o ON true
  CROSS JOIN LATERAL (
    SELECT CASE
      WHEN l.job_id IS NOT NULL THEN CASE WHEN l.started_at IS NULL THEN 'leased' ELSE 'running' END
      WHEN r.job_id IS NOT NULL OR p.job_id IS NOT NULL OR i.job_id IS NOT NULL THEN 'queued'
      WHEN s.job_id IS NOT NULL THEN CASE s.reason WHEN 'retry' THEN 'failed' ELSE 'scheduled' END
      WHEN b.job_id IS NOT NULL THEN 'blocked'
      ELSE coalesce(e.status, 'succeeded') END AS status) x
  WHERE j.tenant_id = p_tenant_id AND j.job_id = ANY (p_job_ids);
END $$;
