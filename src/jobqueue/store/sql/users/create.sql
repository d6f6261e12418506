-- Make a user of a tenant; no row: the email belongs to somebody.
INSERT INTO jobqueue.app_user (tenant_id, email, password_hash, scopes)
VALUES (@tenant_id, @email, @password_hash, @scopes)
ON CONFLICT (email) DO NOTHING
RETURNING user_id
