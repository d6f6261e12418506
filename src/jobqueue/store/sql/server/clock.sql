-- Read the clock that leases are measured by.
-- tenant:  none
SELECT extract(epoch FROM clock_timestamp())::double precision AS now_s
