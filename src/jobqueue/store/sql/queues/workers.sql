-- Say how many jobs at once a worker of each queue runs, on average, from those alive.
SELECT q.name, avg(w.concurrency)::double precision AS concurrency
FROM unnest(@names::text[]) q(name)
JOIN jobqueue.worker w ON w.last_heartbeat_at > clock_timestamp() - @worker_alive_s * interval '1 second'
  AND (w.tenant_id IS NULL OR w.tenant_id = @tenant_id) AND (q.name = ANY (w.queues) OR '*' = ANY (w.queues))
GROUP BY q.name
