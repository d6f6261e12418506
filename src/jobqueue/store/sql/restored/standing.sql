-- Count what a restored database has open, and the credentials that are as they were then.
-- tenant:  all, once after a restore
SELECT
  (SELECT count(*) FROM jobqueue.ready) AS ready,
  (SELECT count(*) FROM jobqueue.scheduled) AS scheduled,
  (SELECT count(*) FROM jobqueue.parked) + (SELECT count(*) FROM jobqueue.blocked) AS held_back,
  (SELECT count(*) FROM jobqueue.inbox) AS inbox,
  (SELECT count(*) FROM jobqueue.api_key) AS api_keys,
  (SELECT count(*) FROM jobqueue.app_user u WHERE u.disabled_at IS NULL) AS users
