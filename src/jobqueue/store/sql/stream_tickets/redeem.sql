-- Use a ticket up: of several who show it one gets the row.
-- tenant:  the ticket is the right
DELETE FROM jobqueue.stream_ticket t
USING jobqueue.tenant n
WHERE t.ticket_sha256 = @ticket_sha256 AND t.expires_at > clock_timestamp() AND n.tenant_id = t.tenant_id
RETURNING t.tenant_id, n.name AS tenant, t.kind, t.holder_id, t.scopes, t.credential_expires_at
