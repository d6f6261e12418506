-- Let the next one lead at once.
-- tenant:  none
UPDATE jobqueue.leader
SET expires_at = '-infinity'
WHERE role = @role AND holder = @holder AND term = @term
RETURNING term
