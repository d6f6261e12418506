-- Disable a user, or let them in again; no row: there is no such user.
-- tenant:  all, operators only
UPDATE jobqueue.app_user
SET disabled_at = CASE WHEN @is_disabled THEN coalesce(disabled_at, clock_timestamp()) END
WHERE email = @email
RETURNING user_id, tenant_id
