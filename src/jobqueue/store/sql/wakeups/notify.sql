-- Wake listeners. Never in a transaction with anything else: NOTIFY takes a lock that all committing notifiers wait for.
-- tenant:  none
SELECT pg_notify('jobqueue_wake', @payload)
