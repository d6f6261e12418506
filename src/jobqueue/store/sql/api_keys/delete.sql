-- Delete a key; answers its name, no row: the tenant has no such key.
DELETE FROM jobqueue.api_key
WHERE tenant_id = @tenant_id AND api_key_id = @api_key_id
RETURNING name
