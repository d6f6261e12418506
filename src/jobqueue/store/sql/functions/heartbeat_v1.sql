-- Renew leases by their own length, and write down starts and progress.
-- edges:   leased -> running
-- params:  p_tenant_id: only leases of this tenant, null: any. Arrays of one length: p_started_ago_s null where the handler has not started, p_progress and p_messages null where unchanged
-- answer:  one row a lease: ok, cancel_requested, busy (locked by another transition, not lost), lost
-- locks:   lease rows, by id, SKIP LOCKED
-- tenant:  all, or one; the token is the right
CREATE FUNCTION jobqueue.heartbeat_v1(
  p_tenant_id int, p_ids uuid[], p_tokens uuid[], p_started_ago_s double precision[], p_progress double precision[], p_messages text[])
RETURNS TABLE (job_id uuid, token uuid, status text, expires_at timestamptz)
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH
  told AS MATERIALIZED (
    SELECT u.*
    FROM unnest(p_ids, p_tokens, p_started_ago_s, p_progress, p_messages) u(id, tok, started_ago_s, progress, message)
    ORDER BY u.id),
  held AS MATERIALIZED (
    SELECT l.job_id, l.tenant_id, l.worker_id, l.attempt, l.claimed_at, l.reported_at, l.started_at, t.message,
      CASE WHEN t.progress IS NOT NULL THEN least(100, greatest(0, t.progress)) END AS progress, -- one bad value must not cost a batch its leases
      CASE WHEN t.started_ago_s IS NOT NULL THEN greatest(l.claimed_at, clock_timestamp() - t.started_ago_s * interval '1 second') END AS began_at
    FROM told t JOIN jobqueue.lease l ON l.job_id = t.id AND l.token = t.tok AND (p_tenant_id IS NULL OR l.tenant_id = p_tenant_id)
    FOR UPDATE OF l SKIP LOCKED),
  renewed AS (
    UPDATE jobqueue.lease l
    SET expires_at = clock_timestamp() + l.lease_s * interval '1 second', reported_at = coalesce(h.reported_at, clock_timestamp()),
      started_at = coalesce(h.started_at, h.began_at), progress = coalesce(h.progress, l.progress), progress_message = coalesce(h.message, l.progress_message)
    FROM held h
    WHERE l.job_id = h.job_id
    RETURNING l.job_id, l.token, l.expires_at, l.cancel_requested_at),
  history AS (
    INSERT INTO jobqueue.event (tenant_id, job_id, type, at, leased_at, worker_id, attempt)
    SELECT h.tenant_id, h.job_id, CASE WHEN h.began_at IS NULL THEN 'leased' ELSE 'started' END, coalesce(h.began_at, h.claimed_at),
      CASE WHEN h.reported_at IS NULL AND h.began_at IS NOT NULL THEN h.claimed_at END, h.worker_id, h.attempt
    FROM held h
    WHERE (h.started_at IS NULL AND h.began_at IS NOT NULL) OR h.reported_at IS NULL)
  SELECT t.id, t.tok,
    CASE WHEN r.cancel_requested_at IS NOT NULL THEN 'cancel_requested'
      WHEN r.job_id IS NOT NULL THEN 'ok'
      WHEN EXISTS (SELECT FROM jobqueue.lease l WHERE l.job_id = t.id AND l.token = t.tok
        AND (p_tenant_id IS NULL OR l.tenant_id = p_tenant_id)) THEN 'busy'
      ELSE 'lost' END,
    r.expires_at
  FROM told t LEFT JOIN renewed r ON r.job_id = t.id AND r.token = t.tok;
END $$;
