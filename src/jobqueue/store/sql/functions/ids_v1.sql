-- Make job ids and read the time in them. UUIDv7: 48 bits of milliseconds first, so ids rise with time and cut into weeks.
DO $do$
BEGIN
  IF current_setting('server_version_num')::int >= 180000 THEN
    EXECUTE 'CREATE FUNCTION jobqueue.new_id() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE AS $f$ SELECT uuidv7() $f$';
  ELSE -- a random id with the clock laid over its first 48 bits and the version set to 7
    EXECUTE $x$CREATE FUNCTION jobqueue.new_id() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE AS $f$
      SELECT encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid()) PLACING
        substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid $f$ $x$;
  END IF;
END $do$;

-- The smallest id of a moment: bounds of partitions, created_after and created_before as id ranges.
CREATE FUNCTION jobqueue.id_at(p_at timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT (lpad(to_hex((extract(epoch FROM p_at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid $$;

-- The moment in an id, to the millisecond.
CREATE FUNCTION jobqueue.id_time(p_id uuid) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT to_timestamp(('x' || left(replace(p_id::text, '-', ''), 12))::bit(48)::bigint / 1000.0) $$;
