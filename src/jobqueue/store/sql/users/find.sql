-- Read a user who is not disabled, by the id in a token.
-- tenant:  all, the token decides
SELECT u.user_id, u.tenant_id, t.name AS tenant, u.scopes, u.email
FROM jobqueue.app_user u
JOIN jobqueue.tenant t ON t.tenant_id = u.tenant_id
WHERE u.user_id = @user_id AND u.disabled_at IS NULL
