-- Make the partitions of the audit trail from this month on; answers how many were missing.
-- tenant:  all, periodic
SELECT jobqueue.make_audit_months_v1(coalesce(@now::timestamptz, clock_timestamp()), @months) AS made
