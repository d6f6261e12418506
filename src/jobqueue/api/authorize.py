"""The one way into every route: `requires(...)` names the scopes, `open_to_all` is for the few routes without a credential.

A route without either fails a test that walks over all of them. It also counts requests against the tenant's rate, and refuses query
parameters the route does not declare, since it is the one thing every route passes through.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

from fastapi import Depends
from starlette.exceptions import HTTPException
from starlette.requests import Request

from jobqueue.api.context import context_of
from jobqueue.api.parameters import NO_IDS
from jobqueue.api.tokens import TokenSigner
from jobqueue.domain.access import REFUSAL, Principal, Scope
from jobqueue.domain.errors import InvalidFields, RateLimited, ScopeMissing, Unauthenticated
from jobqueue.operations.api_keys import KeyRing
from jobqueue.operations.rates import RateLimiter
from jobqueue.operations.stream_tickets import Redeemed
from jobqueue.operations.users import UserRing

API_KEY_PREFIX: Final = "jq_"
QUERY_FIELDS_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Admission:
    """Who was let in for longer than a request. expires_at_s: when the credential ends, Unix time; None: not by itself."""

    principal: Principal
    expires_at_s: float | None


class Gate:
    """Knows who stands behind a credential. One per process; create_app puts it on the application's state."""

    def __init__(
        self, keys: KeyRing, users: UserRing, tokens: TokenSigner, rates: RateLimiter, redeem: Callable[[str], Awaitable[Redeemed]]
    ) -> None:
        """redeem answers whom a stream's ticket speaks for."""
        self._keys = keys
        self._users = users
        self._tokens = tokens
        self._rates = rates
        self._redeem = redeem

    async def admit(self, authorization: str | None) -> Admission:
        """Let somebody in for longer than a request. Raises Unauthenticated."""
        return Admission(await self.identify(authorization), self.expires_at_s(authorization))

    async def redeem(self, ticket: str) -> Admission:
        """Let in who holds a stream's ticket, which is used up by that. Raises Unauthenticated."""
        redeemed = await self._redeem(ticket)
        return Admission(redeemed.principal, redeemed.credential_expires_at_s)

    def expires_at_s(self, authorization: str | None) -> float | None:
        """Say when a credential that was let in ends by itself; None: an API key, which is asked for again and again."""
        credential = (authorization or "").partition(" ")[2].strip()
        return None if credential.startswith(API_KEY_PREFIX) else float(self._tokens.read(credential).expires_at_s)

    async def identify(self, authorization: str | None) -> Principal:
        """Answer whom an Authorization header speaks for. Raises Unauthenticated, the same for every reason."""
        scheme, _, credential = (authorization or "").partition(" ")
        credential = credential.strip()
        if scheme.lower() != "bearer" or not credential:
            raise Unauthenticated(REFUSAL)
        if credential.startswith(API_KEY_PREFIX):
            return await self._keys.verify(credential)
        return await self._identify_token(credential)

    async def _identify_token(self, token: str) -> Principal:
        """A token has the scopes it was made with, less what its key or user lost since."""
        claims = self._tokens.read(token)
        ring = self._users if claims.kind == "user" else self._keys
        principal = await ring.still_lives(claims.id)
        if principal.tenant != claims.tenant:
            raise Unauthenticated(REFUSAL)
        if principal.scopes == claims.scopes:
            return principal
        return replace(principal, scopes=principal.scopes & claims.scopes)

    async def count(self, request: Request, principal: Principal) -> None:
        """Count a request against its tenant's rate; the middleware shows how it stands and takes back what does not count.

        Raises RateLimited, DatabaseUnavailable.
        """
        context = context_of(request.scope)
        context.taken = await self._rates.take(principal.tenant_id)
        if context.taken.refused_s is not None:
            raise RateLimited("the tenant has made as many requests as its rate allows", retry_after_s=context.taken.refused_s)


class Requirement:
    """What a route asks of its caller: any one of the scopes; none named: any credential will do. is_counted: against the tenant's rate."""

    def __init__(self, *scopes: Scope, is_counted: bool = True) -> None:
        self.scopes = frozenset(scopes)
        self.is_counted = is_counted
        self._named = " or ".join(scopes)

    async def __call__(self, request: Request) -> Principal:
        """Let the caller in. Raises Unauthenticated, ScopeMissing, RateLimited, InvalidFields."""
        gate: Gate = request.app.state.gate
        given = request.headers.getlist("authorization")
        principal = await gate.identify(given[0] if len(given) == 1 else None)  # of two, nobody can say which one is meant
        if self.scopes and not self.scopes & principal.scopes:
            raise ScopeMissing(self._named)
        if self.is_counted:
            await gate.count(request, principal)
        refuse_unknown_parameters(request)
        return principal


def requires(*scopes: Scope, is_counted: bool | None = None) -> Any:
    """Make the dependency of a route that needs a credential with one of the scopes.

    is_counted: whether its requests count against the tenant's rate; unless said, all do but those of workers. Streams do not.
    """
    return Depends(Requirement(*scopes, is_counted=Scope.WORK not in scopes if is_counted is None else is_counted))


def refuse_unknown_parameters(request: Request) -> None:
    """Refuse query parameters the route does not declare. Raises InvalidFields."""
    query = request.scope["query_string"]
    if not query:
        return
    if request.path_params.get("job_id") in NO_IDS:
        raise HTTPException(405)  # a call of its own, and this is not its method
    declared = {parameter.alias for parameter in request.scope["route"].dependant.query_params}
    try:
        given = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX)
    except ValueError as error:
        raise InvalidFields([("/query", f"at most {QUERY_FIELDS_MAX} parameters are allowed")]) from error
    unknown = sorted({name for name, _ in given if name not in declared})
    if unknown:
        raise InvalidFields([(f"/query/{name}", "there is no such parameter") for name in unknown])


open_to_all: Final = Depends(refuse_unknown_parameters)
"""The dependency of a route that needs no credential."""

AnyCaller = Annotated[Principal, requires()]
JobsReader = Annotated[Principal, requires(Scope.JOBS_READ)]
JobsWriter = Annotated[Principal, requires(Scope.JOBS_WRITE)]
TenantAdmin = Annotated[Principal, requires(Scope.TENANT_ADMIN)]
TenantReader = Annotated[Principal, requires(Scope.TENANT_ADMIN, Scope.OPERATOR)]
Worker = Annotated[Principal, requires(Scope.WORK)]
Operator = Annotated[Principal, requires(Scope.OPERATOR)]
Foreman = Annotated[Principal, requires(Scope.OPERATOR, is_counted=False)]
StreamReader = Annotated[Principal, requires(Scope.JOBS_READ, is_counted=False)]
MetricsReader = Annotated[Principal, requires(Scope.METRICS_READ, Scope.OPERATOR)]
