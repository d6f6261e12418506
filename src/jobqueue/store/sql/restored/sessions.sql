-- Count the sessions of our roles on this database, by their names; the asking one's own is left out.
-- tenant:  all, once after a restore
SELECT a.application_name AS name, count(*)::int AS sessions
FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.application_name LIKE 'jobqueue-%' AND a.pid <> pg_backend_pid()
GROUP BY a.application_name
ORDER BY a.application_name
