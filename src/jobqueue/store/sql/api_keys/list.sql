-- List a tenant's keys, newest first, from the one after (@before_at, @before_id) on.
-- params:  @before_at, @before_id: null both: from the newest
SELECT api_key_id, name, scopes, created_at, expires_at, last_used_at
FROM jobqueue.api_key
WHERE tenant_id = @tenant_id AND (@before_at::timestamptz IS NULL OR (created_at, api_key_id) < (@before_at, @before_id::text))
ORDER BY created_at DESC, api_key_id DESC
LIMIT @limit
