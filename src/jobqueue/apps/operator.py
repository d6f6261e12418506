"""What an operator does on the database from the command line: tenants, their keys, their people; after a restore."""

import getpass
import os
import secrets
import socket
from collections.abc import Sequence
from typing import Final

from jobqueue.apps.database import lease_terms, opened
from jobqueue.apps.refusals import RoleFailed
from jobqueue.config import Settings
from jobqueue.domain.access import ID_BYTES, SECRET_BYTES
from jobqueue.domain.audit import ActorKind, Author
from jobqueue.operations import restored, tenants, users
from jobqueue.operations.restored import Restored
from jobqueue.operations.tenants import PAGE_MAX, TenantView

PURPOSE: Final = "operator"


def author() -> Author:
    """Say who gives a command: the user of this machine, by name or number, and the machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in a container
        user = str(os.getuid())
    return Author(ActorKind.CLI, user, user, address=socket.gethostname())


async def create_tenant(settings: Settings, name: str, *, plan: str) -> None:
    """Make a tenant. Raises InvalidFields, NameTaken."""
    async with opened(settings, size=1, purpose=PURPOSE) as db:
        await tenants.create(db, name, plan=plan, by=author())


async def list_tenants(settings: Settings) -> list[TenantView]:
    """Read all tenants, by name."""
    found: list[TenantView] = []
    async with opened(settings, size=1, purpose=PURPOSE) as db:
        while page := await tenants.page(db, after=found[-1].name if found else ""):
            found += page
            if len(page) < PAGE_MAX:
                break
    return found


async def create_key(settings: Settings, *, tenant: str, name: str, scopes: Sequence[str] | None) -> str:
    """Make a key for a tenant; answers it, for this is the only time it is known. Raises InvalidFields, NotFound."""
    async with opened(settings, size=1, purpose=PURPOSE) as db:
        chance = secrets.token_bytes(ID_BYTES + SECRET_BYTES)
        tenant_id = await tenants.find(db, tenant)
        _, api_key = await tenants.create_api_key(db, tenant_id, name=name, scopes=scopes, random_bytes=chance, by=author())
    return api_key


async def set_user_disabled(settings: Settings, email: str, *, is_disabled: bool) -> None:
    """Disable a user or let them in again. Raises NotFound."""
    async with opened(settings, size=1, purpose=PURPOSE) as db:
        await users.set_disabled(db, email, is_disabled=is_disabled, by=author())


async def set_restored_right(settings: Settings, *, is_held: bool) -> Restored:
    """Set a restored database right, on the direct address: a pooler would hide who else is connected. Raises RoleFailed."""
    direct = settings.model_copy(update={"database_url": settings.direct_url})
    async with opened(direct, size=1, purpose=PURPOSE) as db:
        if found := await restored.connected_roles(db):
            named = ", ".join(f"{name} ({sessions})" for name, sessions in found.items())
            raise RoleFailed(f"roles work on this database: {named}; stop them first")
        return await restored.set_right(db, lease_terms(settings), is_held=is_held, by=author())
