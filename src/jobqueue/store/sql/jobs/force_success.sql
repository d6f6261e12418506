-- Declare a job done that failed.
-- edges:   dlq|failed -> succeeded
-- locks:   one place row
SELECT verdict, status
FROM jobqueue.force_success_v1(@tenant_id, @job_id, @result, @note)
