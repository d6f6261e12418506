"""Credentials on the line (CONTRACT 3.1)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, WithJsonSchema

from jobqueue.domain.access import Scope
from jobqueue.domain.job import TENANT_NAME
from jobqueue.domain.person import PASSWORD_CHARACTERS_MAX, PASSWORD_CHARACTERS_MIN
from jobqueue.protocol.wire import Answered, Asked, Moment

CREDENTIAL_CHARACTERS_MAX = 4096
EMAIL_CHARACTERS_MAX = 320
KEY_NAME_CHARACTERS_MAX = 100
Credential = Annotated[str, StringConstraints(min_length=1, max_length=CREDENTIAL_CHARACTERS_MAX)]


ScopeName = Annotated[str, WithJsonSchema({"type": "string", "enum": list(map(str, Scope))})]
"""What is none of them is refused with its place in the list, by operations."""


class TokenRequest(Asked):
    """An API key to be exchanged for a token."""

    api_key: Credential = Field(repr=False)
    tenant_id: str | None = Field(default=None, description="When given, it must be the key's own.")


class Token(Answered):
    """A bearer token."""

    access_token: str = Field(repr=False)
    token_type: Literal["bearer"]
    expires_in: int = Field(description="In seconds.")


class Me(Answered):
    """Whom a credential speaks for."""

    kind: Literal["user", "key"]
    id: str
    tenant_id: str
    scopes: list[str]


class Registration(Asked):
    """A person who wants an account, with a tenant of their own."""

    email: Annotated[str, StringConstraints(max_length=EMAIL_CHARACTERS_MAX)] = Field(json_schema_extra={"format": "email"})
    password: str = Field(
        repr=False,
        min_length=PASSWORD_CHARACTERS_MIN,
        max_length=PASSWORD_CHARACTERS_MAX,
        description="Any characters; none of those that everybody tries first.",
    )
    tenant: str = Field(
        json_schema_extra={"pattern": f"^{TENANT_NAME.pattern}$"}, description="The name of the tenant to make: 1-63 of a-z, 0-9 and -."
    )


class Login(Asked):
    """A person who has an account."""

    email: Annotated[str, StringConstraints(max_length=EMAIL_CHARACTERS_MAX)]
    password: str = Field(repr=False, max_length=PASSWORD_CHARACTERS_MAX)


class ApiKeyRequest(Asked):
    """An API key to be made."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=KEY_NAME_CHARACTERS_MAX)] = Field(description="What it is for.")
    scopes: list[ScopeName] | None = Field(
        default=None,
        min_length=1,
        max_length=len(Scope),
        description=f"Of {', '.join(Scope)}; at most the caller's own, all of which it has when they are left out.",
    )
    expires_at: Moment | None = Field(default=None, description="When it stops working; left out: never.")


class ApiKeyMade(Answered):
    """A new API key. The key itself is shown here and never again."""

    id: str
    name: str
    api_key: str = Field(repr=False)
    scopes: list[str]
    expires_at: Moment | None


class ApiKey(Answered):
    """An API key, without its secret, which is not kept."""

    id: str
    name: str
    scopes: list[str]
    created_at: Moment
    expires_at: Moment | None
    last_used_at: Moment | None = Field(description="At most a minute behind.")


class ApiKeysPage(Answered):
    """The tenant's API keys, newest first."""

    items: list[ApiKey]
    next_cursor: str | None
    has_more: bool
