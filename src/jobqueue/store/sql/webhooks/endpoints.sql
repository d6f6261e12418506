-- Read what each endpoint wants to be told.
-- tenant:  all, deliveries are made for everybody at once
SELECT w.webhook_id, w.tenant_id, t.name AS tenant, w.state, w.event_types, w.queues, w.job_types
FROM jobqueue.webhook w
JOIN jobqueue.tenant t ON t.tenant_id = w.tenant_id
