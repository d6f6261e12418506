-- Say how many rows before a number a list looks at, and which is the last of them.
SELECT count(*) AS rows, min(d.seq) AS seq_last
FROM (
  SELECT v.seq
  FROM jobqueue.webhook_delivery v
  WHERE v.tenant_id = @tenant_id AND v.webhook_id = @webhook_id AND v.seq < @before_seq::bigint
  ORDER BY v.seq DESC
  LIMIT @rows_max::int) d
