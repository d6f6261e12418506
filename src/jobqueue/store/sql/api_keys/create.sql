-- Store a key's hash and rights; no row: the tenant has as many keys as it may have, or the expiry is past.
INSERT INTO jobqueue.api_key (api_key_id, tenant_id, name, secret_sha256, scopes, expires_at)
SELECT @api_key_id, @tenant_id, @name, @secret_sha256, @scopes, @expires_at
WHERE coalesce(@expires_at::timestamptz > clock_timestamp(), true)
  AND (SELECT count(*) FROM jobqueue.api_key k WHERE k.tenant_id = @tenant_id) < @keys_max::int
RETURNING created_at
