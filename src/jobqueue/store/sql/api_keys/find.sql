-- Read a key that has not expired, by its public id.
-- tenant:  all, the key decides
SELECT k.api_key_id, k.tenant_id, t.name AS tenant, k.name, k.secret_sha256, k.scopes
FROM jobqueue.api_key k
JOIN jobqueue.tenant t ON t.tenant_id = k.tenant_id
WHERE k.api_key_id = @api_key_id AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())
