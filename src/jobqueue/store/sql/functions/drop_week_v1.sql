-- Drop the oldest week of jobs that nobody needs any more, with its outcomes and events; null: there is none.
-- A week goes when nothing of it waits or runs and the last of it ended longer ago than p_kept_s. Its resting jobs and its counts go too.
-- locks:   the week's job partition ACCESS EXCLUSIVE, waited for briefly; then all is looked at again, so a retry by hand is not lost
-- tenant:  all, periodic
CREATE FUNCTION jobqueue.drop_week_v1(p_kept_s double precision, p_now timestamptz) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_before timestamptz := coalesce(p_now, clock_timestamp()) - p_kept_s * interval '1 second';
  v_week record;
  v_is_needed boolean;
BEGIN
  PERFORM set_config('lock_timeout', '200ms', true);
  FOR v_week IN
    SELECT w.suffix, jobqueue.id_at(w.starts) AS low, jobqueue.id_at(w.starts + interval '7 days') AS high
    FROM (
      SELECT right(c.relname, 8) AS suffix, to_date(right(c.relname, 8), 'YYYYMMDD')::timestamp AT TIME ZONE 'UTC' AS starts
      FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
      WHERE i.inhparent = 'jobqueue.job'::regclass AND c.relname ~ '^job_\d{8}$') w
    WHERE w.starts + interval '7 days' < v_before
    ORDER BY w.starts
  LOOP
    FOR look IN 1 .. 2 LOOP
      EXECUTE format(
        'SELECT EXISTS (SELECT FROM jobqueue.ready WHERE job_id >= $1 AND job_id < $2)
          OR EXISTS (SELECT FROM jobqueue.parked WHERE job_id >= $1 AND job_id < $2)
          OR EXISTS (SELECT FROM jobqueue.scheduled WHERE job_id >= $1 AND job_id < $2)
          OR EXISTS (SELECT FROM jobqueue.blocked WHERE job_id >= $1 AND job_id < $2)
          OR EXISTS (SELECT FROM jobqueue.inbox WHERE job_id >= $1 AND job_id < $2)
          OR EXISTS (SELECT FROM jobqueue.lease WHERE job_id >= $1 AND job_id < $2)
          OR EXISTS (SELECT FROM jobqueue.%I WHERE finished_at >= $3)', 'outcome_' || v_week.suffix)
        INTO v_is_needed USING v_week.low, v_week.high, v_before;
      EXIT WHEN v_is_needed;
      IF look = 1 THEN
        BEGIN
          EXECUTE format('LOCK TABLE jobqueue.%I IN ACCESS EXCLUSIVE MODE', 'job_' || v_week.suffix);
        EXCEPTION WHEN lock_not_available THEN
          RETURN NULL; -- next time
        END;
      END IF;
    END LOOP;
    CONTINUE WHEN v_is_needed;
    BEGIN -- the drop also locks the parents, which somebody else may hold: then nothing of this happened
      EXECUTE format(
        'INSERT INTO jobqueue.tally (tenant_id, queue_id, status, n, entered)
         SELECT j.tenant_id, j.queue_id, coalesce(e.status, ''succeeded''), -count(*), 0
         FROM jobqueue.%I j LEFT JOIN jobqueue.ended e ON e.tenant_id = j.tenant_id AND e.job_id = j.job_id
         GROUP BY 1, 2, 3', 'job_' || v_week.suffix);
      DELETE FROM jobqueue.ended e WHERE e.job_id >= v_week.low AND e.job_id < v_week.high;
      EXECUTE format(
        'INSERT INTO jobqueue.forgotten (seq)
         SELECT max(e.seq) FROM jobqueue.%I e HAVING max(e.seq) IS NOT NULL
         ON CONFLICT (is_it) DO UPDATE SET seq = greatest(forgotten.seq, excluded.seq)', 'event_' || v_week.suffix);
      EXECUTE format('DROP TABLE jobqueue.%I, jobqueue.%I, jobqueue.%I', 'event_' || v_week.suffix, 'outcome_' || v_week.suffix, 'job_' || v_week.suffix);
    EXCEPTION WHEN lock_not_available THEN
      RETURN NULL; -- next time
    END;
    RETURN v_week.suffix;
  END LOOP;
  RETURN NULL;
END $$;
