-- Note a login, and keep the password's hash where it was made anew with today's parameters.
UPDATE jobqueue.app_user
SET logged_in_at = clock_timestamp(), password_hash = coalesce(@password_hash, password_hash)
WHERE tenant_id = @tenant_id AND user_id = @user_id
RETURNING user_id
