-- Replace the sealed form of an endpoint's secrets, unless they changed meanwhile.
-- tenant:  all, the secrets stay what they are
UPDATE jobqueue.webhook
SET secret_sealed = @secret_sealed, previous_sealed = @previous_sealed
WHERE webhook_id = @webhook_id AND secret_sealed = @secret_before
  AND previous_sealed IS NOT DISTINCT FROM @previous_before::text AND (previous_sealed IS NULL) = (@previous_sealed::text IS NULL)
RETURNING webhook_id
