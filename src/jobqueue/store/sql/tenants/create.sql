-- Make a tenant with its plan's weight; no row: the name is taken.
-- tenant:  all, operators and people who register
INSERT INTO jobqueue.tenant (name, plan, weight, max_concurrent, max_queued, rate_per_minute)
SELECT @name, p.name, p.weight, @max_concurrent::int, @max_queued::int, @rate_per_minute::int
FROM jobqueue.plan p
WHERE p.name = @plan
ON CONFLICT (name) DO NOTHING
RETURNING tenant_id
