-- Claim due jobs of the lanes a claimer names, and lease them.
-- edges:   queued -> leased
-- locks:   tenant SKIP LOCKED -> concurrency key SKIP LOCKED -> ready by ctid; index ready_claim
-- tenant:  all, a worker may serve many
SELECT job_id, token, tenant_id, queue_id, type_id, band, attempt, attempts_max, crashes, key_id, timeout_s, tags, metadata,
  idempotency_key, correlation_id, traceparent, data, n, floor, low, seconds
FROM jobqueue.claim_v1(
  @worker_id, @claim_id, @lease_s, @timeout_s, @grace_s, @tenant_cap, @aging,
  @tenants, @takes, @criticals, @lows,
  @lane_tenants, @lane_queues, @lane_types, @lane_bands, @lane_floors, @lane_limits)
