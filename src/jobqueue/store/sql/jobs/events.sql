-- Read the packed history of a job, in order, after a row's seq.
SELECT e.seq, e.type, e.then_type, e.at, e.leased_at, e.started_at, e.attempt, w.name AS worker_id, e.data
FROM jobqueue.event e
LEFT JOIN jobqueue.worker w ON w.worker_id = e.worker_id
WHERE e.job_id = @job_id AND e.tenant_id = @tenant_id AND e.seq >= @seq_from
ORDER BY e.seq
LIMIT @limit
