-- Say for how long the oldest due job of each queue has been due, over all tenants.
-- params:  @lanes_max bounds the walk: queues beyond it are not looked at
-- tenant:  all, periodic
SELECT q.name, greatest(0, date_part('epoch', clock_timestamp() - o.due_at)) AS age_s
FROM jobqueue.oldest_due_v1(@lanes_max) o JOIN jobqueue.queue q ON q.queue_id = o.queue_id
