-- Settle a batch of leases; answers only what differs from what was asked.
-- edges:   leased|running -> succeeded|failed|dlq|scheduled|queued|cancelled
-- locks:   concurrency keys -> lease rows, by id
-- tenant:  all, the token is the right
SELECT job_id, token, status, next_status
FROM jobqueue.settle_v1(
  @is_reaper, @job_ids, @tokens, @kinds, @nexts, @attempts, @crashes, @delays_s, @ran_s, @results, @result_refs, @errors, @key_ids)
