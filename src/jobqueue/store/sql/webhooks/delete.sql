-- Delete an endpoint; its deliveries are swept later. No row: the tenant has no such endpoint.
DELETE FROM jobqueue.webhook
WHERE tenant_id = @tenant_id AND webhook_id = @webhook_id
RETURNING webhook_id
