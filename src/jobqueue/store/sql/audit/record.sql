-- Write down what somebody did, in the transaction that does it.
-- params:  @tenant_id: whose thing it was done to, 0: none's in particular
INSERT INTO jobqueue.audit (audit_id, tenant_id, actor_kind, actor_id, actor_name, action, target_kind, target_id, request_id, correlation_id, address, data)
VALUES (jobqueue.new_id(), @tenant_id, @actor_kind, @actor_id, @actor_name, @action, @target_kind, @target_id, @request_id, @correlation_id, @address, @data)
