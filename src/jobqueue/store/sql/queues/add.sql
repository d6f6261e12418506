-- Give new names a number; those that exist are left out of the answer.
-- locks:   names, in order
-- tenant:  all, names are shared
INSERT INTO jobqueue.queue (name)
SELECT n FROM unnest(@names::text[]) n ORDER BY n
ON CONFLICT DO NOTHING
RETURNING name, queue_id AS number
