"""One call of the API as data: what is sent, and how its answer is read. Both clients carry out the same calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote
from uuid import UUID

import orjson
from pydantic import BaseModel, ValidationError

from jobqueue.client.problems import UnexpectedAnswer
from jobqueue.domain.errors import InvalidFields

Read = TypeVar("Read")
Model = TypeVar("Model", bound=BaseModel)
Query = Sequence[tuple[str, str]]

JSON_HEADERS: Final = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, slots=True)
class Call(Generic[Read]):
    """What to send and how to read what comes back.

    is_repeatable: carrying it out twice is the same as once, so it is sent again when its answer did not come. wait_s: how long the server
    may hold it by design, on top of the usual time.
    """

    method: str
    path: str
    read: Callable[[Answer], Read]
    query: Query = ()
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    is_repeatable: bool = True
    wait_s: float = 0.0


def path_of(*parts: object) -> str:
    """Put a path together, each part quoted."""
    return "/" + "/".join(quote(str(part), safe="") for part in parts)


def encode(value: object) -> bytes:
    """Write a body. Raises InvalidFields for what JSON cannot say."""
    try:
        return orjson.dumps(value, default=_plain)
    except (TypeError, ValueError) as error:  # orjson's own error is a TypeError
        raise InvalidFields([("", f"cannot be written as JSON: {error}")]) from error


def _plain(value: object) -> object:
    if isinstance(value, UUID):  # the database driver has a kind of its own
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence | set | frozenset):
        return list(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def as_model(model: type[Model]) -> Callable[[Answer], Model]:
    """Read an answer as a shape of the protocol."""

    def read(answer: Answer) -> Model:
        try:
            return model.model_validate_json(answer.content)
        except ValidationError as error:
            raise UnexpectedAnswer(f"the answer is no {model.__name__}: is this a jobqueue of a known version?") from error

    return read


def as_json(answer: Answer) -> Any:
    """Read an answer as whatever JSON it is; None when there is none."""
    if not answer.content:
        return None
    try:
        return orjson.loads(answer.content)
    except orjson.JSONDecodeError as error:
        raise UnexpectedAnswer("the answer is not JSON: is the address right?") from error
