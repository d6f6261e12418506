-- Lock a tenant's gate for the rest of the transaction, so that its settings are read and changed in one piece.
-- locks:   tenant, waited for
SELECT tenant_id
FROM jobqueue.tenant
WHERE tenant_id = @tenant_id
FOR NO KEY UPDATE
