-- Say which of these jobs of many tenants have ended, for those who wait.
-- tenant:  many, each row names its own
SELECT u.ord
FROM unnest(@tenants::int[], @job_ids::uuid[]) WITH ORDINALITY u(tenant_id, job_id, ord)
WHERE jobqueue.status_v1(u.tenant_id, u.job_id) IN ('succeeded', 'dlq', 'cancelled', 'expired')
