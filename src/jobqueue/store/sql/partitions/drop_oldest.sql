-- Drop the oldest week of jobs that nobody needs any more; null: there is none.
-- locks:   the week's job partition ACCESS EXCLUSIVE, waited for 200 ms
-- tenant:  all, periodic
SELECT jobqueue.drop_week_v1(@kept_s, @now) AS week
