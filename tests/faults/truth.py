"""The database's own account of what happened: triggers that write each change of a place to a table of the run's, and the dump at the end.

Only for tests. The triggers fire per statement, in the transaction of the change and whatever role it runs as, so the account can neither
miss one nor tell of one that was rolled back; within a job the order of `seq` is the order of its moves, since nobody can touch a row
before the move that made it is over.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import asyncpg
import orjson

CALL_S_MAX: Final = 120.0

TABLE: Final = """
CREATE SCHEMA faults;
CREATE TABLE faults.change (
  seq bigint GENERATED ALWAYS AS IDENTITY, xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  at timestamptz NOT NULL DEFAULT clock_timestamp(), by text NOT NULL DEFAULT current_setting('application_name'),
  tbl text NOT NULL, op text NOT NULL, tenant int NOT NULL, job uuid NOT NULL,
  token uuid, attempt int, attempts_max int, crashes int, running int, detail text, until timestamptz);
"""

COLUMNS: Final = "(tbl, op, tenant, job, token, attempt, attempts_max, crashes, running, detail, until)"

TRIGGER: Final = """
CREATE FUNCTION faults.{name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  INSERT INTO faults.change {columns}
  SELECT '{table}', '{op}', r.tenant_id, r.job_id, {fields} FROM seen r;
  RETURN NULL;
END $$;
CREATE TRIGGER {name} AFTER {event} ON jobqueue.{table}
  REFERENCING {which} TABLE AS seen FOR EACH STATEMENT EXECUTE FUNCTION faults.{name}();
"""

OF_A_PLACE: Final = "NULL, r.attempt, r.attempts_max, r.crashes, NULL"
OF_A_LEASE: Final = "r.token, r.attempt, r.attempts_max, r.crashes"
RUNNING: Final = "(SELECT count(*)::int FROM jobqueue.lease l WHERE l.tenant_id = r.tenant_id)"
EVENTS: Final = {"I": ("INSERT", "NEW"), "D": ("DELETE", "OLD"), "U": ("UPDATE", "NEW")}

SEEN: Final = (
    ("job", "I", "NULL, NULL, r.max_attempts, NULL, NULL, NULL, NULL"),
    ("outcome", "I", "r.token, r.attempt, NULL, NULL, NULL, r.state, NULL"),
    ("lease", "I", f"{OF_A_LEASE}, {RUNNING}, NULL, r.expires_at"),
    ("lease", "U", f"{OF_A_LEASE}, NULL, CASE WHEN r.started_at IS NOT NULL THEN 'started' END, r.expires_at"),
    ("lease", "D", f"{OF_A_LEASE}, NULL, CASE WHEN r.started_at IS NOT NULL THEN 'started' END, r.expires_at"),
    *((table, op, f"{OF_A_PLACE}, NULL, NULL") for table in ("ready", "parked", "blocked") for op in "ID"),
    *(("scheduled", op, f"{OF_A_PLACE}, r.reason, r.run_at") for op in "ID"),
    *(("ended", op, f"{OF_A_PLACE}, r.status, NULL") for op in "ID"),
)
"""(table, what happens, what is kept of the row)."""

CHANGES: Final = """
SELECT row_to_json(c) FROM (
  SELECT seq, xid::text::bigint AS xid, (extract(epoch FROM at) * 1000000000)::bigint AS at_ns, by, tbl AS table, op, tenant, job, token,
    coalesce(attempt, 0) AS attempt, coalesce(attempts_max, 0) AS attempts_max, coalesce(crashes, 0) AS crashes,
    coalesce(running, 0) AS running,
    detail, coalesce((extract(epoch FROM until) * 1000000000)::bigint, 0) AS until_ns
  FROM faults.change ORDER BY seq) c
"""
ROWS: Final = """
SELECT row_to_json(r) FROM (
  SELECT j.job_id AS job, j.tenant_id AS tenant, j.idempotency_key AS key, t.name AS job_type,
    jobqueue.status_v1(j.tenant_id, j.job_id) AS status,
    j.data ->> 'body' AS body, o.token, o.result ->> 'run' AS run
  FROM jobqueue.job j
  JOIN jobqueue.job_type t ON t.type_id = j.type_id
  LEFT JOIN jobqueue.outcome o ON o.tenant_id = j.tenant_id AND o.state = 'succeeded' AND o.job_id = j.job_id) r
"""
SNAPSHOT: Final = """
SELECT (SELECT count(*) FROM jobqueue.job) AS jobs,
  (SELECT count(*) FROM (SELECT job_id FROM jobqueue.ready UNION ALL SELECT job_id FROM jobqueue.parked
    UNION ALL SELECT job_id FROM jobqueue.blocked UNION ALL SELECT job_id FROM jobqueue.scheduled
    UNION ALL SELECT job_id FROM jobqueue.lease UNION ALL SELECT job_id FROM jobqueue.ended
    UNION ALL SELECT job_id FROM jobqueue.outcome WHERE state = 'succeeded') p) AS placed
"""
WAITING: Final = """
SELECT (SELECT count(*) FROM jobqueue.ready) + (SELECT count(*) FROM jobqueue.parked) + (SELECT count(*) FROM jobqueue.scheduled)
  + (SELECT count(*) FROM jobqueue.lease) + (SELECT count(*) FROM jobqueue.blocked)
"""


async def connect(dsn: str) -> Any:
    """A connection of the run's own."""
    return await asyncpg.connect(dsn, timeout=10, command_timeout=CALL_S_MAX, server_settings={"application_name": "tests"})


async def install(dsn: str) -> None:
    """Put the triggers onto a migrated database."""
    connection = await connect(dsn)
    try:
        await connection.execute(TABLE)
        for table, op, fields in SEEN:
            event, which = EVENTS[op]
            name = f"{table}_{event.lower()}"
            await connection.execute(
                TRIGGER.format(name=name, columns=COLUMNS, table=table, op=op, fields=fields, event=event, which=which)
            )
    finally:
        await connection.close()


async def dump(dsn: str, directory: Path) -> None:
    """Write truth.ndjson and rows.ndjson."""
    connection = await connect(dsn)
    try:
        for query, file in ((CHANGES, "truth.ndjson"), (ROWS, "rows.ndjson")):
            # a quote and a delimiter that JSON cannot hold: so every line is the document itself
            await connection.copy_from_query(
                query, output=directory / file, format="csv", quote="\x01", delimiter="\x02", timeout=CALL_S_MAX
            )
    finally:
        await connection.close()


def write_params(directory: Path, params: Any) -> None:
    """Write params.json, from a history.Params."""
    (directory / "params.json").write_bytes(orjson.dumps(params))
