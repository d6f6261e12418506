-- Read what tells early that the database grows ill: what holds vacuum up, what it has not cleaned, how large all is, how full NOTIFY's queue.
-- answer:  oldest_transaction_s: of what this role may see; dead_rows by table, of the tables that are written and deleted from
-- tenant:  all, periodic
SELECT
  coalesce(greatest(
    (SELECT max(extract(epoch FROM clock_timestamp() - a.xact_start)) FROM pg_stat_activity a WHERE a.pid <> pg_backend_pid() AND a.backend_type = 'client backend'),
    (SELECT max(extract(epoch FROM clock_timestamp() - p.prepared)) FROM pg_prepared_xacts p)), 0)::double precision AS oldest_transaction_s,
  pg_notification_queue_usage() AS notify_queue_ratio,
  (SELECT count(*)::int FROM pg_stat_activity a WHERE a.backend_type = 'client backend') AS connections,
  current_setting('max_connections')::int AS connections_max,
  (SELECT coalesce(sum(pg_table_size(c.oid)), 0)::bigint FROM pg_class c WHERE c.relnamespace = 'jobqueue'::regnamespace AND c.relkind = 'r') AS table_bytes,
  (SELECT coalesce(sum(pg_indexes_size(c.oid)), 0)::bigint FROM pg_class c WHERE c.relnamespace = 'jobqueue'::regnamespace AND c.relkind = 'r') AS index_bytes,
  (SELECT coalesce(json_object_agg(s.relname, s.n_dead_tup), '{}')
    FROM pg_stat_user_tables s
    WHERE s.schemaname = 'jobqueue' AND s.relname IN ('ready', 'scheduled', 'parked', 'lease', 'tally', 'inbox', 'ended', 'idempotency', 'worker', 'queue_sample')) AS dead_rows
