-- Store new jobs; answers the position and id of each one stored, leaves out those whose key exists.
-- edges:   none -> queued|scheduled
-- locks:   idempotency keys, in order
-- tenant:  many, each row names its own
SELECT ord, job_id, attempts_max, run_at
FROM jobqueue.submit_v1(
  @default_attempts_max, @tenants, @queues, @types, @priorities, @data, @attempts_max, @key_hashes, @request_hashes, @idempotency_keys,
  @correlation_ids, @traceparents, @key_ids, @timeouts_s, @run_at, @delays_s, @expires_in_s, @tags, @metadata, @lock_timeout_ms)
