-- Make deliveries of events: one row for each pair of an event, named by its place, and an endpoint that wants it.
-- params:  @now timestamptz (tests only)
-- tenant:  many, each event carries its own
INSERT INTO jobqueue.webhook_delivery (webhook_id, seq, tenant_id, job_id, type, event_at, body, status, next_at)
SELECT p.webhook_id, e.seq, e.tenant_id, e.job_id, e.type, e.event_at, e.body, p.status,
  CASE WHEN p.status = 'pending' THEN m.at END
FROM unnest(@seqs::bigint[], @tenant_ids::int[], @job_ids::uuid[], @types::text[], @event_ats::timestamptz[], @bodies::text[])
  WITH ORDINALITY AS e(seq, tenant_id, job_id, type, event_at, body, place)
JOIN unnest(@places::bigint[], @webhook_ids::uuid[], @statuses::text[]) AS p(place, webhook_id, status) ON p.place = e.place
CROSS JOIN (SELECT coalesce(@now::timestamptz, clock_timestamp()) AS at OFFSET 0) m
ON CONFLICT (webhook_id, seq) DO NOTHING
RETURNING seq
