-- Say which job each idempotency key made, and whether with the same request. A statement of its own: it needs a newer snapshot.
-- tenant:  many, each row names its own
SELECT u.ord, i.job_id, i.request_hash = u.request_hash AS is_same
FROM unnest(@tenants::int[], @key_hashes::uuid[], @request_hashes::uuid[]) WITH ORDINALITY u(tenant_id, key_hash, request_hash, ord)
JOIN jobqueue.idempotency i ON i.tenant_id = u.tenant_id AND i.key_hash = u.key_hash
