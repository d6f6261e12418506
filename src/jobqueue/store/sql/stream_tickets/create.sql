-- Keep a ticket for one stream, and forget those nobody used in time: there are never many.
WITH swept AS (
  DELETE FROM jobqueue.stream_ticket t
  WHERE t.expires_at < clock_timestamp() - interval '1 minute')
INSERT INTO jobqueue.stream_ticket (ticket_sha256, tenant_id, kind, holder_id, scopes, credential_expires_at, expires_at)
VALUES (@ticket_sha256, @tenant_id, @kind, @holder_id, @scopes, @credential_expires_at, clock_timestamp() + @lives_s * interval '1 second')
