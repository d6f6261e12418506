"""Credentials: an API key or a password becomes a token; people register; who am I."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from jobqueue.api.authorize import AnyCaller, open_to_all
from jobqueue.api.bodies import CREDENTIAL_BODY_BYTES_MAX, json_response, read_object
from jobqueue.api.openapi import documented
from jobqueue.api.parameters import author_of
from jobqueue.api.services import ApiServices
from jobqueue.api.shapes import me_object
from jobqueue.domain.access import REFUSAL, Principal
from jobqueue.domain.errors import NameTaken, RegistrationClosed, TooManyAttempts, Unauthenticated
from jobqueue.operations import users
from jobqueue.protocol import access, wire

NO_ADDRESS: Final = "unknown"


def build(services: ApiServices) -> APIRouter:
    """Make the routes."""
    routes = AuthRoutes(services)
    router = APIRouter(tags=["credentials"])

    def add_open(path: str, handler: Any, **documentation: Any) -> None:
        router.add_api_route(path, handler, methods=["POST"], dependencies=[open_to_all], **documentation)

    token = ("A token.", access.Token)
    add_open("/auth/token", routes.exchange, **documented({200: token}, Unauthenticated, body=access.TokenRequest, is_public=True))
    add_open(
        "/auth/register",
        routes.register,
        operation_id="register",
        **documented({201: token}, RegistrationClosed, NameTaken, TooManyAttempts, body=access.Registration, is_public=True),
    )
    add_open(
        "/auth/login",
        routes.log_in,
        operation_id="log_in",
        **documented({200: token}, Unauthenticated, TooManyAttempts, body=access.Login, is_public=True),
    )
    router.add_api_route("/auth/me", routes.who_am_i, methods=["GET"], **documented({200: ("The caller.", access.Me)}))
    return router


class AuthRoutes:
    """The handlers."""

    def __init__(self, services: ApiServices) -> None:
        self._db = services.db
        self._keys = services.keys
        self._passwords = services.passwords
        self._tokens = services.tokens
        self._is_registration_open = services.limits.is_registration_open

    async def exchange(self, request: Request) -> Response:
        """Exchange an API key for a bearer token that lives 15 minutes, and no longer than the key."""
        asked = wire.read(access.TokenRequest, await read_object(request, bytes_max=CREDENTIAL_BODY_BYTES_MAX))
        principal = await self._keys.verify(asked.api_key)
        if asked.tenant_id is not None and asked.tenant_id != principal.tenant:
            raise Unauthenticated(REFUSAL)
        return self._answer(principal)

    async def register(self, request: Request) -> Response:
        """Make an account and a tenant that it owns; answers a bearer token. Where registration is closed an operator makes tenants."""
        if not self._is_registration_open:
            raise RegistrationClosed("registration is closed here; an operator makes tenants and their keys")
        asked = wire.read(access.Registration, await read_object(request, bytes_max=CREDENTIAL_BODY_BYTES_MAX))
        principal = await users.register(
            self._db,
            self._passwords,
            email=asked.email,
            password=asked.password,
            tenant=asked.tenant,
            address=_address_of(request),
            by=author_of(request, None),
        )
        return self._answer(principal, 201)

    async def log_in(self, request: Request) -> Response:
        """Exchange an email address and a password for a bearer token of 15 minutes. Tries are limited by account and by address."""
        asked = wire.read(access.Login, await read_object(request, bytes_max=CREDENTIAL_BODY_BYTES_MAX))
        address, by = _address_of(request), author_of(request, None)
        principal = await users.log_in(self._db, self._passwords, email=asked.email, password=asked.password, address=address, by=by)
        return self._answer(principal)

    async def who_am_i(self, caller: AnyCaller) -> Response:
        """Show whom the credential speaks for."""
        return json_response(me_object(caller))

    def _answer(self, principal: Principal, status: int = 200) -> Response:
        token, lifetime_s = self._tokens.sign(principal)
        return json_response({"access_token": token, "token_type": "bearer", "expires_in": lifetime_s}, status)


def _address_of(request: Request) -> str:
    """The address at the other end of the connection; behind a proxy that is the proxy's."""
    return NO_ADDRESS if request.client is None else request.client.host
