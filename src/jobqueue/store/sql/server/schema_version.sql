-- Read the migration the schema stands at; null: none.
-- tenant:  none
SELECT to_regclass('jobqueue.schema_version') IS NOT NULL AS is_there
