-- Keep the audit trail: rows are only ever added, and go with their whole month.
-- Whoever tries to change, delete or truncate is refused, the tables' owner and superusers too. Partitions get the row trigger from their
-- parent, but not the one against TRUNCATE.
-- locks:   making takes a transaction-level advisory lock; dropping the month ACCESS EXCLUSIVE, waited for briefly
-- tenant:  all, periodic
CREATE FUNCTION jobqueue.refuse_change_v1() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = format('%s of %s is refused: it is only added to', TG_OP, TG_TABLE_NAME);
END $$;

-- Make one partition unless it is there. Says whether it was made.
CREATE FUNCTION jobqueue.make_audit_partition_v1(p_name text, p_bounds text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
  IF to_regclass(format('jobqueue.%I', p_name)) IS NOT NULL THEN
    RETURN false;
  END IF;
  EXECUTE format('CREATE TABLE jobqueue.%I PARTITION OF jobqueue.audit %s', p_name, p_bounds);
  EXECUTE format('CREATE TRIGGER insert_only_truncate BEFORE TRUNCATE ON jobqueue.%I FOR EACH STATEMENT EXECUTE FUNCTION jobqueue.refuse_change_v1()', p_name);
  RETURN true;
END $$;

-- Make the months that start in p_from .. p_from + p_months. One whose rows are in the default partition already is left out.
CREATE FUNCTION jobqueue.make_audit_months_v1(p_from timestamptz, p_months int) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
  month timestamptz;
  made int := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('jobqueue.audit_months'));
  PERFORM jobqueue.make_audit_partition_v1('audit_rest', 'DEFAULT');
  FOR i IN 0 .. p_months - 1 LOOP
    month := (date_trunc('month', p_from AT TIME ZONE 'UTC') + i * interval '1 month') AT TIME ZONE 'UTC';
    BEGIN
      made := made + jobqueue.make_audit_partition_v1(to_char(month AT TIME ZONE 'UTC', '"audit_"YYYYMM'),
        format('FOR VALUES FROM (%L) TO (%L)', jobqueue.id_at(month),
          jobqueue.id_at((month AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC')))::int;
    EXCEPTION WHEN check_violation THEN
      RAISE WARNING 'the default partition of jobqueue.audit holds rows of the month of %', month;
    END;
  END LOOP;
  RETURN made;
END $$;

-- Drop the oldest month that is over for longer than p_kept_s, or the default partition when its newest row is as old.
CREATE FUNCTION jobqueue.drop_audit_month_v1(p_kept_s double precision, p_now timestamptz) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
  v_before timestamptz := coalesce(p_now, clock_timestamp()) - p_kept_s * interval '1 second';
  v_name text;
BEGIN
  PERFORM set_config('lock_timeout', '200ms', true);
  SELECT m.name INTO v_name
  FROM (
    SELECT c.relname::text AS name, to_date(right(c.relname, 6), 'YYYYMM')::timestamp AT TIME ZONE 'UTC' AS starts
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'jobqueue.audit'::regclass AND c.relname ~ '^audit_\d{6}$') m
  WHERE (m.starts AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC' < v_before
  ORDER BY m.starts
  LIMIT 1;
  IF v_name IS NULL AND EXISTS (SELECT FROM jobqueue.audit_rest)
    AND NOT EXISTS (SELECT FROM jobqueue.audit_rest r WHERE r.audit_id >= jobqueue.id_at(v_before)) THEN
    v_name := 'audit_rest';
  END IF;
  IF v_name IS NULL THEN
    RETURN NULL;
  END IF;
  BEGIN
    EXECUTE format('DROP TABLE jobqueue.%I', v_name);
  EXCEPTION WHEN lock_not_available THEN
    RETURN NULL; -- next time
  END;
  PERFORM jobqueue.make_audit_partition_v1('audit_rest', 'DEFAULT');
  RETURN v_name;
END $$;
