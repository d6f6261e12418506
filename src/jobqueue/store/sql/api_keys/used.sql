-- Note that a key was used, unless another process did within the period.
UPDATE jobqueue.api_key
SET last_used_at = clock_timestamp()
WHERE tenant_id = @tenant_id AND api_key_id = @api_key_id
  AND coalesce(last_used_at < clock_timestamp() - @period_s::double precision * interval '1 second', true)
RETURNING api_key_id
