-- Read sealed secrets after an endpoint, in order.
-- tenant:  all, they are sealed with the same key
SELECT webhook_id, secret_sealed, previous_sealed
FROM jobqueue.webhook
WHERE webhook_id > @after_id
ORDER BY webhook_id
LIMIT @limit
