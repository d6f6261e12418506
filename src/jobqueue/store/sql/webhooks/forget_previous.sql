-- Forget secrets whose grace is over.
-- params:  @now timestamptz (tests only)
-- tenant:  all, time is over for everybody
UPDATE jobqueue.webhook
SET previous_sealed = NULL, previous_until = NULL
WHERE previous_until <= coalesce(@now::timestamptz, clock_timestamp())
RETURNING webhook_id
