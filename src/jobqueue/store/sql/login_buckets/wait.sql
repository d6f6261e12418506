-- Tell in how many seconds every one of the subjects may try again.
-- params:  as in spend
-- tenant:  all, nobody is known yet
SELECT greatest(0, max(extract(epoch FROM b.free_at - clock_timestamp()) + u.step_s - @window_s::double precision))::double precision AS wait_s
FROM unnest(@subjects::uuid[], @steps_s::double precision[]) u(subject, step_s)
JOIN jobqueue.login_bucket b ON b.subject = u.subject
