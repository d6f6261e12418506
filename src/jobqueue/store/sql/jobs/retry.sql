-- Send an ended job, or a failed one, back to the queue.
-- edges:   dlq|cancelled|expired|succeeded|failed -> queued
-- locks:   the job's row -> one place row
SELECT verdict, status
FROM jobqueue.retry_v1(@tenant_id, @job_id, @is_reset)
