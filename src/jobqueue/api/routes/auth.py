"""Credentials: an API key becomes a token; who am I."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from jobqueue.api.authorize import AnyCaller, open_to_all
from jobqueue.api.bodies import CREDENTIAL_BODY_BYTES_MAX, json_response, read_object
from jobqueue.api.openapi import documented
from jobqueue.api.services import ApiServices
from jobqueue.api.shapes import me_object
from jobqueue.api.tokens import REFUSAL
from jobqueue.domain.errors import Unauthenticated
from jobqueue.protocol import access, wire


def build(services: ApiServices) -> APIRouter:
    """Make the routes."""
    routes = AuthRoutes(services)
    router = APIRouter(tags=["credentials"])
    router.add_api_route(
        "/auth/token",
        routes.exchange,
        methods=["POST"],
        dependencies=[open_to_all],
        **documented({200: ("A token.", access.Token)}, Unauthenticated, body=access.TokenRequest, is_public=True),
    )
    router.add_api_route("/auth/me", routes.who_am_i, methods=["GET"], **documented({200: ("The caller.", access.Me)}))
    return router


class AuthRoutes:
    """The handlers."""

    def __init__(self, services: ApiServices) -> None:
        self._keys = services.keys
        self._tokens = services.tokens

    async def exchange(self, request: Request) -> Response:
        """Exchange an API key for a bearer token that lives 15 minutes, and no longer than the key."""
        asked = wire.read(access.TokenRequest, await read_object(request, bytes_max=CREDENTIAL_BODY_BYTES_MAX))
        principal = await self._keys.verify(asked.api_key)
        if asked.tenant_id is not None and asked.tenant_id != principal.tenant:
            raise Unauthenticated(REFUSAL)
        token, lifetime_s = self._tokens.sign(principal)
        return json_response({"access_token": token, "token_type": "bearer", "expires_in": lifetime_s})

    async def who_am_i(self, caller: AnyCaller) -> Response:
        """Show whom the credential speaks for."""
        return json_response(me_object(caller))
