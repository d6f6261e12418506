-- Store a key's hash and rights.
INSERT INTO jobqueue.api_key (api_key_id, tenant_id, name, secret_sha256, scopes, expires_at)
VALUES (@api_key_id, @tenant_id, @name, @secret_sha256, @scopes, @expires_at)
RETURNING created_at
