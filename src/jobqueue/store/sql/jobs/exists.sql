-- Say whether the tenant has such a job.
SELECT EXISTS (
  SELECT
  FROM jobqueue.job j
  WHERE j.tenant_id = @tenant_id AND j.job_id = @job_id) AS is_there
