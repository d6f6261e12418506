-- Say where a job is; null: there is no such job of this tenant.
CREATE FUNCTION jobqueue.status_v1(p_tenant_id int, p_job_id uuid) RETURNS text
LANGUAGE sql STABLE AS $$
  SELECT coalesce(
    (SELECT CASE WHEN l.started_at IS NULL THEN 'leased' ELSE 'running' END FROM jobqueue.lease l WHERE l.job_id = j.job_id AND l.tenant_id = j.tenant_id),
    (SELECT 'queued' FROM jobqueue.ready r WHERE r.tenant_id = j.tenant_id AND r.job_id = j.job_id),
    (SELECT CASE s.reason WHEN 'retry' THEN 'failed' ELSE 'scheduled' END FROM jobqueue.scheduled s WHERE s.tenant_id = j.tenant_id AND s.job_id = j.job_id),
    (SELECT e.status FROM jobqueue.ended e WHERE e.tenant_id = j.tenant_id AND e.job_id = j.job_id),
    (SELECT 'queued' FROM jobqueue.parked p WHERE p.tenant_id = j.tenant_id AND p.job_id = j.job_id),
    (SELECT 'blocked' FROM jobqueue.blocked b WHERE b.tenant_id = j.tenant_id AND b.job_id = j.job_id),
    (SELECT 'queued' FROM jobqueue.inbox i WHERE i.tenant_id = j.tenant_id AND i.job_id = j.job_id),
    'succeeded')
  FROM jobqueue.job j
  WHERE j.tenant_id = p_tenant_id AND j.job_id = p_job_id
$$;
