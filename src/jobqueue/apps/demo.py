"""The tenant and the key that `jobqueue dev` offers."""

import secrets
from typing import Final

from jobqueue.aio.clock import Clock
from jobqueue.apps.data_dir import DataDir
from jobqueue.config import Settings
from jobqueue.domain.access import ID_BYTES, SECRET_BYTES
from jobqueue.domain.errors import NameTaken, Unauthenticated
from jobqueue.operations import tenants
from jobqueue.operations.api_keys import KeyRing
from jobqueue.operations.database import Database, open_database

TENANT: Final = "demo"
REQUESTS_PER_MINUTE: Final = 6_000
NO_LIMIT: Final = 0
API_KEY_FILE: Final = "api_key"


async def ensure_demo(dsn: str, settings: Settings, data_dir: DataDir, *, clock: Clock) -> str:
    """Make the tenant and a key for it where they are missing; answers the key, the same one as long as it is good."""
    db = await open_database(dsn, size=1, application_name="jobqueue-dev")
    try:
        tenant_id = await _ensure_tenant(db, settings)
        kept = data_dir.read(API_KEY_FILE)
        if kept is not None and await _is_good(db, kept, clock=clock):
            return kept
        chance = secrets.token_bytes(ID_BYTES + SECRET_BYTES)
        _, api_key = await tenants.create_api_key(db, tenant_id, name="demo", scopes=None, random_bytes=chance)
        return data_dir.write(API_KEY_FILE, api_key)
    finally:
        await db.close()


async def _ensure_tenant(db: Database, settings: Settings) -> int:
    given = settings.model_fields_set
    try:
        return await tenants.create(
            db,
            TENANT,
            max_concurrent=None if "tenant_max_concurrent" in given else NO_LIMIT,
            rate_per_minute=None if "rate_limit_requests_per_minute" in given else REQUESTS_PER_MINUTE,
        )
    except NameTaken:
        return await tenants.find(db, TENANT)


async def _is_good(db: Database, api_key: str, *, clock: Clock) -> bool:
    """Tell whether this database knows the key; the directory may have been used with another one before."""
    try:
        principal = await KeyRing(db, clock=clock).verify(api_key)
    except Unauthenticated:
        return False
    return principal.tenant == TENANT
