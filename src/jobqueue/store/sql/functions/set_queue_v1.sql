-- Change one tenant's settings of a queue under the tenant's gate, so that a claim sees either the old ones or the new.
-- params:  p_changes: a JSON object of column -> value, only the columns to change; the caller checked them
-- locks:   tenant, waited for
CREATE FUNCTION jobqueue.set_queue_v1(p_tenant_id int, p_queue_id int, p_changes json) RETURNS SETOF jobqueue.tenant_queue
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  PERFORM FROM jobqueue.tenant t WHERE t.tenant_id = p_tenant_id FOR NO KEY UPDATE;
  INSERT INTO jobqueue.tenant_queue (tenant_id, queue_id) VALUES (p_tenant_id, p_queue_id) ON CONFLICT DO NOTHING;
  RETURN QUERY
  UPDATE jobqueue.tenant_queue q
  SET (is_paused, max_concurrent, key_max_concurrent, rate_per_second, max_attempts, retry_base_s) = (
    SELECT n.is_paused, n.max_concurrent, n.key_max_concurrent, n.rate_per_second, n.max_attempts, n.retry_base_s
    FROM json_populate_record(q, p_changes) n)
  WHERE q.tenant_id = p_tenant_id AND q.queue_id = p_queue_id
  RETURNING q.*;
END $$;
