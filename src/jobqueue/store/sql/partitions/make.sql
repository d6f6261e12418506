-- Make this week's partitions and the next ones.
-- tenant:  none
SELECT jobqueue.make_partitions_v1(clock_timestamp() - interval '7 days', @weeks) AS made
