-- Answer the lane a due job stands in.
SELECT r.queue_id, r.type_id, r.band
FROM jobqueue.ready r
WHERE r.tenant_id = @tenant_id AND r.job_id = @job_id
