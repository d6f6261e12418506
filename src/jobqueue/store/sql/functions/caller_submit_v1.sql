-- Submit a job inside the caller's own transaction: it exists when that commits, and never did when it rolls back.
-- It goes to the inbox, with its key; receive_v1 moves it on after the commit. So it writes no event, no count and no name, and holds
-- nobody up but requests with the same key.
-- params:  as in POST /v1/jobs; null: the default
-- answer:  the job's id; the same key and fields again: the id of the job they made
-- errors:  22023 a field is wrong (COLUMN names it), 22P05 text that cannot be stored, 23505 the key belongs to other fields (DETAIL: the
--          job that holds it), 53400 the tenant's queue is full, 42704 there is no such tenant
-- tenant:  the one that is named: whoever may call it may submit for every tenant
CREATE FUNCTION jobqueue.submit(
  tenant text, job_type text, data jsonb DEFAULT '{}', idempotency_key text DEFAULT NULL, queue text DEFAULT 'default',
  priority text DEFAULT 'normal', max_attempts int DEFAULT NULL, scheduled_at timestamptz DEFAULT NULL,
  delay_seconds double precision DEFAULT NULL, timeout_seconds int DEFAULT NULL, expires_in_seconds double precision DEFAULT NULL,
  concurrency_key text DEFAULT NULL, tags text[] DEFAULT '{}', metadata jsonb DEFAULT '{}', correlation_id text DEFAULT NULL,
  traceparent text DEFAULT NULL)
RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  v_tenant_id int;
  v_queued_max int;
  v_id uuid := jobqueue.new_id();
  v_now timestamptz := clock_timestamp();
  v_run_at timestamptz;
  v_priority int;
  v_field text;
  v_fault text;
  v_request_hash uuid;
  v_found record;
BEGIN
  IF current_setting('synchronous_commit') IN ('off', 'local') THEN
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;
  submit.data := coalesce(submit.data, '{}');
  submit.metadata := coalesce(submit.metadata, '{}');
  submit.tags := coalesce(submit.tags, '{}');
  submit.queue := coalesce(submit.queue, 'default');
  submit.priority := coalesce(submit.priority, 'normal');
  v_priority := array_position(ARRAY['critical', 'high', 'normal', 'low'], submit.priority) - 1;

  SELECT f.field, f.fault INTO v_field, v_fault
  FROM (VALUES
    ('tenant', submit.tenant IS NULL, 'is needed'),
    ('job_type', submit.job_type IS NULL OR submit.job_type !~ '^[A-Za-z0-9_.:-]{1,100}$', 'must be 1-100 of A-Z a-z 0-9 _ . : -'),
    ('queue', submit.queue !~ '^[A-Za-z0-9_.-]{1,100}$', 'must be 1-100 of A-Z a-z 0-9 _ . -'),
    ('priority', v_priority IS NULL, 'must be critical, high, normal or low'),
    ('data', jsonb_typeof(submit.data) <> 'object', 'must be a JSON object'),
    ('data', octet_length(submit.data::text) > 262144, 'is over 256 KiB'),
    ('data', jsonb_path_exists(submit.data, '$.** ? (@.type() == "number") ? (@ > 1.7e308 || @ < -1.7e308)'), 'has a number beyond a double'),
    ('metadata', jsonb_typeof(submit.metadata) <> 'object', 'must be a JSON object'),
    ('metadata', octet_length(submit.metadata::text) > 16384, 'is over 16 KiB'),
    ('idempotency_key', submit.idempotency_key !~ '^[ -~]{1,255}$', 'must be 1-255 printable ASCII characters'),
    ('max_attempts', submit.max_attempts NOT BETWEEN 1 AND 1000, 'must be 1 to 1000'),
    ('delay_seconds', NOT submit.delay_seconds BETWEEN 0 AND 31622400, 'must be 0 to 31622400'),
    ('delay_seconds', submit.delay_seconds IS NOT NULL AND submit.scheduled_at IS NOT NULL, 'excludes scheduled_at'),
    ('scheduled_at', NOT isfinite(submit.scheduled_at) OR submit.scheduled_at > '9999-12-31', 'is out of range'),
    ('timeout_seconds', submit.timeout_seconds NOT BETWEEN 1 AND 604800, 'must be 1 to 604800'),
    ('expires_in_seconds', NOT (submit.expires_in_seconds > 0 AND submit.expires_in_seconds <= 31622400), 'must be over 0, at most 31622400'),
    ('concurrency_key', length(submit.concurrency_key) NOT BETWEEN 1 AND 255, 'must be 1-255 characters'),
    ('tags', cardinality(submit.tags) > 50 OR array_ndims(submit.tags) > 1, 'must be at most 50'),
    ('tags', EXISTS (SELECT FROM unnest(submit.tags) t(tag) WHERE t.tag IS NULL OR length(t.tag) NOT BETWEEN 1 AND 100), 'must be 1-100 characters each'),
    ('correlation_id', submit.correlation_id !~ '^[ -~]{1,128}$', 'must be 1-128 printable ASCII characters'),
    ('traceparent', submit.traceparent !~ '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$', 'must be a W3C traceparent')
  ) f(field, is_wrong, fault)
  WHERE f.is_wrong
  LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('jobqueue.submit: %s %s', v_field, v_fault), COLUMN = v_field;
  END IF;

  SELECT t.tenant_id, nullif(coalesce(t.max_queued, p.max_queued), 0) INTO v_tenant_id, v_queued_max
  FROM jobqueue.tenant t LEFT JOIN jobqueue.plan p ON p.name = t.plan
  WHERE t.name = submit.tenant;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('jobqueue.submit: there is no tenant %L', submit.tenant), COLUMN = 'tenant';
  END IF;

  IF submit.idempotency_key IS NOT NULL THEN
    v_request_hash := encode(substring(sha256(convert_to(jsonb_build_array(submit.job_type, submit.data, submit.queue, submit.priority,
      submit.max_attempts, submit.scheduled_at, submit.delay_seconds, submit.timeout_seconds, submit.expires_in_seconds,
      submit.concurrency_key, submit.tags, submit.metadata)::text, 'UTF8')) FROM 1 FOR 16), 'hex')::uuid;
    FOR look IN 1 .. 5 LOOP
      INSERT INTO jobqueue.idempotency (tenant_id, key_hash, request_hash, job_id)
      VALUES (v_tenant_id, encode(substring(sha256(convert_to(submit.idempotency_key, 'UTF8')) FROM 1 FOR 16), 'hex')::uuid, v_request_hash, v_id)
      ON CONFLICT DO NOTHING;
      EXIT WHEN FOUND;
      SELECT i.job_id, i.request_hash INTO v_found
      FROM jobqueue.idempotency i
      WHERE i.tenant_id = v_tenant_id
        AND i.key_hash = encode(substring(sha256(convert_to(submit.idempotency_key, 'UTF8')) FROM 1 FOR 16), 'hex')::uuid;
      CONTINUE WHEN NOT FOUND; -- swept in between
      IF v_found.request_hash = v_request_hash THEN
        RETURN v_found.job_id;
      END IF;
      RAISE EXCEPTION USING ERRCODE = '23505', MESSAGE = 'jobqueue.submit: the idempotency key was used with other fields',
        DETAIL = format('job %s', v_found.job_id), COLUMN = 'idempotency_key';
    END LOOP;
  END IF;

  IF v_queued_max <= (
    SELECT sum(t.n)
    FROM jobqueue.tally t
    WHERE t.tenant_id = v_tenant_id AND t.status IN ('queued', 'scheduled', 'blocked', 'failed')) THEN
    RAISE EXCEPTION USING ERRCODE = '53400', MESSAGE = 'jobqueue.submit: the tenant has as many waiting jobs as it may have', COLUMN = 'tenant';
  END IF;

  v_run_at := CASE WHEN submit.delay_seconds > 0 THEN v_now + submit.delay_seconds * interval '1 second'
    WHEN submit.scheduled_at > v_now THEN submit.scheduled_at END;
  INSERT INTO jobqueue.inbox (job_id, tenant_id, run_at, start_by, queue, job_type, priority, max_attempts, timeout_s, concurrency_key,
    idempotency_key, correlation_id, traceparent, tags, metadata, data)
  VALUES (v_id, v_tenant_id, v_run_at, coalesce(v_run_at, v_now) + submit.expires_in_seconds * interval '1 second', submit.queue, submit.job_type,
    v_priority, submit.max_attempts, submit.timeout_seconds, submit.concurrency_key, submit.idempotency_key, submit.correlation_id,
    submit.traceparent, CASE WHEN cardinality(submit.tags) > 0 THEN submit.tags END,
    CASE WHEN submit.metadata <> '{}' THEN submit.metadata END, submit.data);
  RETURN v_id;
END $$;

-- Who may submit for every tenant is for the operator to say, role by role.
REVOKE ALL ON FUNCTION jobqueue.submit(text, text, jsonb, text, text, text, int, timestamptz, double precision, int, double precision, text,
  text[], jsonb, text, text) FROM PUBLIC;
