"""What an operator does on the database from the command line: tenants, their keys, their people."""

import secrets
from collections.abc import Sequence
from typing import Final

from jobqueue.apps.database import opened
from jobqueue.config import Settings
from jobqueue.domain.access import ID_BYTES, SECRET_BYTES
from jobqueue.operations import tenants, users
from jobqueue.operations.tenants import PAGE_MAX, TenantView

PURPOSE: Final = "operator"


async def create_tenant(settings: Settings, name: str, *, plan: str) -> None:
    """Make a tenant. Raises InvalidFields, NameTaken."""
    async with opened(settings, size=1, purpose=PURPOSE) as db:
        await tenants.create(db, name, plan=plan)


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
        _, api_key = await tenants.create_api_key(db, await tenants.find(db, tenant), name=name, scopes=scopes, random_bytes=chance)
    return api_key


async def set_user_disabled(settings: Settings, email: str, *, is_disabled: bool) -> None:
    """Disable a user or let them in again. Raises NotFound."""
    async with opened(settings, size=1, purpose=PURPOSE) as db:
        await users.set_disabled(db, email, is_disabled=is_disabled)
