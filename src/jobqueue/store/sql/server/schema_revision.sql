-- Read the migration the schema stands at.
-- tenant:  none
SELECT version_num
FROM jobqueue.schema_version
