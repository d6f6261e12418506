CREATE TABLE jobqueue.app_user (
  user_id uuid DEFAULT gen_random_uuid() NOT NULL,
  tenant_id integer NOT NULL,
  email text NOT NULL,
  password_hash text NOT NULL,
  scopes text[] NOT NULL,
  created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
  disabled_at timestamptz,
  logged_in_at timestamptz,
  CONSTRAINT app_user_pkey PRIMARY KEY (user_id),
  CONSTRAINT app_user_email_key UNIQUE (email),
  CONSTRAINT app_user_password_hash CHECK (password_hash LIKE '$argon2id$%')
);
COMMENT ON TABLE jobqueue.app_user IS 'A person of a tenant. email as domain/person.py writes it, so that one address is one row.';
CREATE INDEX app_user_tenant ON jobqueue.app_user (tenant_id);

CREATE TABLE jobqueue.login_bucket (
  subject uuid NOT NULL,
  free_at timestamptz NOT NULL,
  CONSTRAINT login_bucket_pkey PRIMARY KEY (subject)
);
COMMENT ON TABLE jobqueue.login_bucket IS 'How far an account or an address has run ahead of its rate of logins; in the past: it has not. subject: a hash.';
CREATE INDEX login_bucket_free ON jobqueue.login_bucket (free_at);
