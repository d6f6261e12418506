-- Make the weeks of job, outcome and event that start in p_from .. p_from + p_weeks; those that exist stay. Returns how many were made.
-- locks:   one transaction-level advisory lock, so two keepers do not race
-- A week that finds rows of its range in the default partition is left out: the rows are fine where they are.
CREATE FUNCTION jobqueue.make_partitions_v1(p_from timestamptz, p_weeks int) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
  parent text;
  week timestamptz;
  made int := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('jobqueue.partitions'));
  FOREACH parent IN ARRAY ARRAY['job', 'outcome', 'event'] LOOP
    FOR i IN 0 .. p_weeks - 1 LOOP
      week := date_trunc('week', p_from AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' + i * interval '7 days';
      CONTINUE WHEN to_regclass(format('jobqueue.%I', parent || to_char(week AT TIME ZONE 'UTC', '_YYYYMMDD'))) IS NOT NULL;
      BEGIN
        EXECUTE format('CREATE TABLE jobqueue.%I PARTITION OF jobqueue.%I FOR VALUES FROM (%L) TO (%L)',
          parent || to_char(week AT TIME ZONE 'UTC', '_YYYYMMDD'), parent, jobqueue.id_at(week), jobqueue.id_at(week + interval '7 days'));
        made := made + 1;
      EXCEPTION WHEN check_violation THEN
        RAISE WARNING 'the default partition of jobqueue.% holds rows of the week of %', parent, week;
      END;
    END LOOP;
  END LOOP;
  RETURN made;
END $$;
