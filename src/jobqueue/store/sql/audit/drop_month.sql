-- Drop the oldest month of the audit trail that is over for longer than @kept_s; answers its partition's name, null when there is none.
-- tenant:  all, periodic
SELECT jobqueue.drop_audit_month_v1(@kept_s, @now) AS month
