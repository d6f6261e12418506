-- Draw requests from tenants' rate buckets for one API process, and put back what it does not need.
-- locks:   rate_bucket rows, in order of tenant
-- tenant:  many, each request was counted for the tenant of its credential
SELECT tenant_id, per_minute, given, ahead, tokens
FROM jobqueue.draw_rate_v1(@holder, @default_per_minute, @held_s, @tenants, @hands, @backs, @needs, @wants)
