"""The application without anything below it, for tests of the door itself."""

import time
from collections.abc import Sequence
from typing import Any, cast

import httpx2
from fastapi import FastAPI

from jobqueue.aio.clock import SystemClock
from jobqueue.api.app import create_app
from jobqueue.api.services import ApiLimits, ApiServices
from jobqueue.api.tokens import TokenSigner
from jobqueue.domain.access import TENANT_SCOPES, Principal, Scope
from jobqueue.domain.errors import Unauthenticated
from jobqueue.operations.rates import Taken
from jobqueue.operations.readiness import Readiness
from jobqueue.telemetry.events import Telemetry

SECRET = "a secret of at least thirty-two bytes"
API_KEY = "jq_key"


class OneKey:
    """A key ring with one key."""

    def __init__(self, scopes: Sequence[Scope] = TENANT_SCOPES) -> None:
        self.principal = Principal("key", "k1", 1, "demo", frozenset(scopes))
        self.lives = True

    async def verify(self, key: str) -> Principal:
        return await self.still_lives("k1" if key == API_KEY else "")

    async def still_lives(self, key_id: str) -> Principal:
        if key_id != "k1" or not self.lives:
            raise Unauthenticated("the credential is not valid")
        return self.principal


class NoRate:
    """Tenants without a limit; counts what is counted."""

    def __init__(self) -> None:
        self.counted = 0

    async def take(self, tenant_id: int) -> Taken:
        self.counted += 1
        return Taken(None, SystemClock())


class NoUsers:
    """A ring without users."""

    async def still_lives(self, user_id: str) -> Principal:
        raise Unauthenticated("the credential is not valid")


class Fake:
    """Stands for what a test does not reach."""


def make_app(
    *, keys: OneKey | None = None, users: Any = None, telemetry: Telemetry | None = None, is_metrics_open: bool = False, **services: Any
) -> FastAPI:
    async def render(reader: Principal | None) -> bytes:
        return f"of {None if reader is None else reader.tenant}".encode()

    async def readiness() -> Readiness:
        return Readiness({"process": "ok"}, {})

    everything: dict[str, Any] = {
        "db": Fake(),
        "names": Fake(),
        "submitter": Fake(),
        "end_waiter": Fake(),
        "polls": Fake(),
        "terms": Fake(),
        "joiner": Fake(),
        "webhook_secrets": Fake(),
        "webhook_guard": Fake(),
        "keys": keys or OneKey(),
        "rates": NoRate(),
        "users": users or NoUsers(),
        "passwords": Fake(),
        "tokens": TokenSigner([SECRET], now_s=time.time),
        "limits": ApiLimits(tenant_cap=10, cancel_grace_s=30, is_metrics_open=is_metrics_open, worker_concurrency=100),
        "clock": SystemClock(),
        "telemetry": telemetry or Telemetry(),
        "wake": lambda lane: None,
        "render_metrics": render,
        "readiness": readiness,
        **services,
    }
    return create_app(cast(ApiServices, ApiServices(**everything)))


def client_of(app: FastAPI, *, credential: str | None = API_KEY) -> httpx2.AsyncClient:
    headers = {} if credential is None else {"Authorization": f"Bearer {credential}"}
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://api", headers=headers)
