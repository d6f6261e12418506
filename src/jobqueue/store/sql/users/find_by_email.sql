-- Read a user who wants to log in.
-- tenant:  all, the email decides
SELECT u.user_id, u.tenant_id, t.name AS tenant, u.scopes, u.email, u.password_hash, u.disabled_at IS NOT NULL AS is_disabled
FROM jobqueue.app_user u
JOIN jobqueue.tenant t ON t.tenant_id = u.tenant_id
WHERE u.email = @email
