-- Say whether this login may run single-tenant statements as the role that row-level security binds, and all tenants' tables are bound.
-- tenant:  none
SELECT coalesce(bool_and(c.relrowsecurity), false)
  AND coalesce((SELECT pg_has_role(r.oid, 'MEMBER') FROM pg_roles r WHERE r.rolname = 'jobqueue_tenant'), false) AS is_up
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
WHERE c.relnamespace = 'jobqueue'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
