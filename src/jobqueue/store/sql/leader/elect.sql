-- Become the leader of a role when nobody is, or go on being it; no row: somebody else leads.
-- params:  @term bigint: the caller's term, null when it does not lead; a take-over starts a new one
-- tenant:  none
INSERT INTO jobqueue.leader AS x (role, holder, term, expires_at)
VALUES (@role, @holder, 1, clock_timestamp() + @term_s * interval '1 second')
ON CONFLICT (role) DO UPDATE
SET holder = excluded.holder, expires_at = excluded.expires_at, term = CASE WHEN x.holder = @holder AND x.term = @term AND x.expires_at >= clock_timestamp() THEN x.term ELSE x.term + 1 END
WHERE x.expires_at < clock_timestamp() OR (x.holder = @holder AND x.term = @term)
RETURNING x.term
