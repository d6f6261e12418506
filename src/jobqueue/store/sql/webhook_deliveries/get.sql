-- Read a delivery with what is sent.
SELECT d.seq, d.job_id, d.type, d.event_at, d.status, d.attempts, d.next_at, d.tried_at, d.answer_status, d.answer_excerpt, d.answer_s, d.error, d.body
FROM jobqueue.webhook_delivery d
WHERE d.tenant_id = @tenant_id AND d.webhook_id = @webhook_id AND d.seq = @seq
