-- Store new jobs, each with its key, place, event and count. Rows whose key exists are left out of the answer: ask sql/jobs/find_keys.
-- edges:   none -> queued|scheduled
-- params:  arrays of one length; any but the first four and p_data may hold nulls or be null. p_tags: JSON arrays of strings.
--          p_lock_timeout_ms: how long a key held by an open transaction may hold this statement up
-- answer:  the position (from 1) and id of each row stored, its attempts (its own, its queue's, the default) and the time it waits for
-- locks:   idempotency keys, in order of (tenant, key hash), so two batches cannot deadlock
-- tenant:  many, each row names its own, taken from its request's credential
-- Ids are UUIDv7 as new_id() makes them, but what is random in them is drawn once a call, since this costs 3 us where Postgres opens the kernel's
-- source for each: milliseconds and 4096ths of one, then the position, then 44 bits that no other call of that moment has.
-- plpgsql keeps its plan; a SQL function would be planned at each call before Postgres 18.
CREATE FUNCTION jobqueue.submit_v1(
  p_default_attempts_max int, p_tenants int[], p_queues int[], p_types int[], p_priorities smallint[], p_data json[], p_attempts_max smallint[],
  p_key_hashes uuid[], p_request_hashes uuid[], p_idempotency_keys text[], p_correlation_ids text[], p_traceparents text[],
  p_key_ids bigint[], p_timeouts_s int[], p_run_at timestamptz[], p_delays_s double precision[], p_expires_in_s double precision[],
  p_tags json[], p_metadata json[], p_lock_timeout_ms int)
RETURNS TABLE (ord bigint, job_id uuid, attempts_max smallint, run_at timestamptz)
LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
  v_us bigint := extract(epoch FROM clock_timestamp()) * 1000000;
  v_moment text := lpad(to_hex(v_us / 1000), 12, '0') || '7' || lpad(to_hex(v_us % 1000 * 4096 / 1000), 3, '0') || '8';
  v_random text := right(gen_random_uuid()::text, 11);
BEGIN
  IF cardinality(p_tenants) > 65535 THEN
    RAISE 'a call stores at most 65535 jobs';
  END IF;
  IF current_setting('synchronous_commit') IN ('off', 'local') THEN
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;
  PERFORM set_config('lock_timeout', p_lock_timeout_ms::text, true);
  RETURN QUERY
  WITH
  asked AS MATERIALIZED (
    SELECT u.*, (v_moment || lpad(to_hex(u.ord), 4, '0') || v_random)::uuid AS id, clock_timestamp() AS at -- no join here: ids rise in the order of the arrays
    FROM unnest(p_tenants, p_queues, p_types, p_priorities, p_data, p_attempts_max, p_key_hashes, p_request_hashes, p_idempotency_keys,
        p_correlation_ids, p_traceparents, p_key_ids, p_timeouts_s, p_run_at, p_delays_s, p_expires_in_s, p_tags, p_metadata)
      WITH ORDINALITY u(tid, qid, typ, priority, data, asked_attempts_max, key_hash, request_hash, idempotency_key,
        correlation_id, traceparent, key_id, timeout_s, asked_at, delay_s, expires_in_s, tags, metadata, ord)),
  kept AS (
    INSERT INTO jobqueue.idempotency (tenant_id, key_hash, request_hash, job_id)
    SELECT a.tid, a.key_hash, a.request_hash, a.id FROM asked a WHERE a.key_hash IS NOT NULL ORDER BY a.tid, a.key_hash
    ON CONFLICT DO NOTHING
    RETURNING job_id),
  fresh AS MATERIALIZED (
    SELECT a.*, coalesce(a.asked_attempts_max, s.max_attempts, p_default_attempts_max)::smallint AS attempts_max,
      (a.priority + CASE WHEN a.key_id IS NULL THEN 0 ELSE 4 END)::smallint AS band,
      CASE WHEN a.delay_s > 0 THEN a.at + a.delay_s * interval '1 second' WHEN a.asked_at > a.at THEN a.asked_at END AS run_at
    FROM asked a LEFT JOIN jobqueue.tenant_queue s ON s.tenant_id = a.tid AND s.queue_id = a.qid
    WHERE a.key_hash IS NULL OR a.id IN (SELECT k.job_id FROM kept k)),
  stored AS (
    INSERT INTO jobqueue.job (tenant_id, job_id, queue_id, type_id, key_id, priority, max_attempts, timeout_s, scheduled_at, idempotency_key,
      correlation_id, traceparent, tags, metadata, data)
    SELECT f.tid, f.id, f.qid, f.typ, f.key_id, f.priority, f.attempts_max, f.timeout_s, f.run_at, f.idempotency_key,
      f.correlation_id, f.traceparent, CASE WHEN f.tags IS NOT NULL THEN ARRAY(SELECT json_array_elements_text(f.tags)) END, f.metadata, f.data
    FROM fresh f),
  due AS (
    INSERT INTO jobqueue.ready (sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes, key_id, start_by)
    SELECT f.at, f.id, f.qid, f.typ, f.tid, f.band, f.priority, 0, f.attempts_max, 0, f.key_id, f.at + f.expires_in_s * interval '1 second'
    FROM fresh f
    WHERE f.run_at IS NULL),
  later AS (
    INSERT INTO jobqueue.scheduled (sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes, key_id, start_by, run_at, reason)
    SELECT f.run_at, f.id, f.qid, f.typ, f.tid, f.band, f.priority, 0, f.attempts_max, 0, f.key_id, f.run_at + f.expires_in_s * interval '1 second', f.run_at, 'asked'
    FROM fresh f
    WHERE f.run_at IS NOT NULL),
  history AS (
    INSERT INTO jobqueue.event (tenant_id, job_id, type, at, data)
    SELECT f.tid, f.id, 'submitted', f.at, CASE WHEN f.run_at IS NOT NULL THEN '{"status":"scheduled"}'::json END FROM fresh f),
  counted AS (
    INSERT INTO jobqueue.tally (tenant_id, queue_id, status, n, entered)
    SELECT f.tid, f.qid, CASE WHEN f.run_at IS NULL THEN 'queued' ELSE 'scheduled' END, count(*), count(*) FROM fresh f GROUP BY 1, 2, 3)
  SELECT f.ord, f.id, f.attempts_max, f.run_at FROM fresh f;
END $$;
