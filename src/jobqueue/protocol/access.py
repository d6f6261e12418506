"""Credentials on the line (CONTRACT 3.1)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from jobqueue.protocol.wire import Answered, Asked

CREDENTIAL_CHARACTERS_MAX = 4096
Credential = Annotated[str, StringConstraints(min_length=1, max_length=CREDENTIAL_CHARACTERS_MAX)]


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
