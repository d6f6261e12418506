"""The second wall: single-tenant statements run as a role that row-level security binds to the tenant's rows.

The first wall is that each of them binds @tenant_id, taken from the credential. Should one forget it, the role sees no other tenant's row
and can write none. The role and the tenant are set in the statement's own transaction, so nothing is left on the connection and a
transaction pooler may stand in between. Statements marked `-- tenant:` run as the engine's role, the tables' owner.
"""

from __future__ import annotations

from typing import Any, Final

from jobqueue.store.failures import is_healthy_after
from jobqueue.store.statements import Statement

ROLE: Final = "jobqueue_tenant"


def settings(tenant_id: int) -> str:
    """Write what binds a transaction to a tenant; a number, so nothing in it needs quoting."""
    return f"SET LOCAL ROLE {ROLE}; SET LOCAL jobqueue.tenant_id = '{int(tenant_id):d}'"


async def fetch(connection: Any, statement: Statement, arguments: list[Any], tenant_id: int) -> Any:
    """Run one statement of a tenant in a transaction of its own, behind the wall: three round trips instead of one."""
    await connection.execute(f"BEGIN; {settings(tenant_id)}")
    try:
        rows = await connection.fetch(statement.text, *arguments)
    except BaseException as error:
        if is_healthy_after(error):
            await connection.execute("ROLLBACK")
        raise
    await connection.execute("COMMIT")
    return rows
