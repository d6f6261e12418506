-- Bind the role of single-tenant statements to one tenant's rows, on every table that has a tenant; null: done, else what stands in the way.
-- params:  the role is the same for all databases of a server, so it may be there already, or be made elsewhere at this moment
-- locks:   each table ACCESS EXCLUSIVE for a moment, only those that are not bound yet; run by each migration
-- tenant:  all, it is what keeps them apart
-- The engine's role is the tables' owner, whom policies do not bind. A table without a tenant the role may only read.
CREATE FUNCTION jobqueue.raise_wall_v1() RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_table record;
  v_own constant text := 'tenant_id = (SELECT nullif(current_setting(''jobqueue.tenant_id'', true), '''')::int)';
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = 'jobqueue_tenant') THEN
    BEGIN
      CREATE ROLE jobqueue_tenant NOLOGIN NOINHERIT;
    EXCEPTION
      WHEN duplicate_object OR unique_violation THEN
        NULL; -- made by another database's migration
      WHEN insufficient_privilege THEN
        RETURN format('the role jobqueue_tenant is missing and %I may not make roles: as a superuser run '
          'CREATE ROLE jobqueue_tenant NOLOGIN NOINHERIT; GRANT jobqueue_tenant TO %I; and migrate again', current_user, current_user);
    END;
  END IF;
  BEGIN
    PERFORM set_config('role', 'jobqueue_tenant', true), set_config('role', 'none', true);
  EXCEPTION WHEN insufficient_privilege THEN
    BEGIN
      EXECUTE format('GRANT jobqueue_tenant TO %I', current_user);
    EXCEPTION WHEN insufficient_privilege THEN
      RETURN format('%I is no member of the role jobqueue_tenant: as a superuser run GRANT jobqueue_tenant TO %I; and migrate again', current_user, current_user);
    END;
  END;
  GRANT USAGE ON SCHEMA jobqueue TO jobqueue_tenant;
  GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA jobqueue TO jobqueue_tenant;
  FOR v_table IN
    SELECT c.oid::regclass::text AS name, a.attname IS NOT NULL AS has_tenant, a.attnotnull AS is_always, c.relrowsecurity AS is_bound,
      has_table_privilege('jobqueue_tenant', c.oid, 'SELECT') AS is_granted,
      EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'insert_only') AS is_insert_only
    FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
    WHERE c.relnamespace = 'jobqueue'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    ORDER BY c.relname
  LOOP
    IF NOT v_table.has_tenant THEN
      CONTINUE WHEN v_table.is_granted;
      EXECUTE 'GRANT SELECT ON ' || v_table.name || ' TO jobqueue_tenant';
      CONTINUE;
    END IF;
    CONTINUE WHEN v_table.is_bound AND v_table.is_granted;
    EXECUTE 'ALTER TABLE ' || v_table.name || ' ENABLE ROW LEVEL SECURITY';
    EXECUTE 'DROP POLICY IF EXISTS one_tenant ON ' || v_table.name;
    EXECUTE 'CREATE POLICY one_tenant ON ' || v_table.name || ' TO jobqueue_tenant USING ('
      || CASE WHEN v_table.is_always THEN '' ELSE 'tenant_id IS NULL OR ' END || v_own || ') WITH CHECK (' || v_own || ')';
    EXECUTE CASE WHEN v_table.is_insert_only THEN 'GRANT SELECT, INSERT ON ' ELSE 'GRANT SELECT, INSERT, UPDATE, DELETE ON ' END
      || v_table.name || ' TO jobqueue_tenant';
  END LOOP;
  RETURN NULL;
END $$;
