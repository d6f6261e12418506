-- Say where each of a tenant's leases stands, for who settles them without knowing; of those that are gone, whether the same was told before.
-- params:  arrays of one length; @kinds: what is told now
-- answer:  in the order of the arrays. attempt null: there is no such lease; then is_replay says whether this token settled this way
SELECT l.attempt, l.attempts_max, l.crashes, l.key_id, q.retry_base_s, e.job_id IS NOT NULL AS is_replay, e.then_type
FROM unnest(@job_ids::uuid[], @tokens::uuid[], @kinds::text[]) WITH ORDINALITY u(job_id, token, kind, place)
LEFT JOIN jobqueue.lease l ON l.job_id = u.job_id AND l.token = u.token AND l.tenant_id = @tenant_id
LEFT JOIN jobqueue.tenant_queue q ON q.tenant_id = l.tenant_id AND q.queue_id = l.queue_id
LEFT JOIN LATERAL (
  SELECT x.job_id, x.then_type
  FROM jobqueue.event x
  WHERE l.job_id IS NULL AND x.job_id = u.job_id AND x.token = u.token AND x.type = u.kind AND x.tenant_id = @tenant_id
  LIMIT 1) e ON true
ORDER BY u.place
