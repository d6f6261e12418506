"""What all wire shapes share."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from jobqueue.domain.errors import InvalidFields
from jobqueue.protocol.json_walk import escape

RFC_3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
POINTER: Final = "pointer"
"""Faults of this type carry a pointer in their context, from the model they are of."""


class Asked(BaseModel):
    """Base of what is sent to the API: unknown fields are refused, nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Answered(BaseModel):
    """Base of what the API answers: fields may be added, and older clients shall not break."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def read_moment(value: Any) -> Any:
    """Read an RFC 3339 time as UTC; leave everything else to the type."""
    if not isinstance(value, str):
        return value
    if RFC_3339.fullmatch(value) is None:
        raise ValueError("must be an RFC 3339 time with its offset, such as 2030-01-31T12:00:00Z")
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is out of range") from error


def read_whole(value: Any) -> Any:
    """Read a number without a fraction as the integer it is in JSON, 3.0 as 3; leave everything else to the type."""
    return int(value) if type(value) is float and value.is_integer() else value


Whole = BeforeValidator(read_whole)
Moment = Annotated[datetime, BeforeValidator(read_moment), WithJsonSchema({"type": "string", "format": "date-time"})]
Json = Annotated[Any, Field(description="Any JSON value.")]

Model = TypeVar("Model", bound=BaseModel)


def read(model: type[Model], value: Any) -> Model:
    """Read a shape from parsed JSON. Raises InvalidFields with a pointer for each fault."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise InvalidFields(faults_of(error)) from error


def faults_of(error: ValidationError, *, root: str = "") -> list[tuple[str, str]]:
    """Turn pydantic's faults into (JSON pointer, what to change), without the values, which may be secrets."""
    return [_fault(dict(fault), root) for fault in error.errors(include_url=False, include_input=False)]


def _fault(fault: dict[str, Any], root: str) -> tuple[str, str]:
    pointer = root + "".join(f"/{escape(part)}" for part in fault["loc"])
    if fault["type"] == POINTER:
        return pointer + fault["ctx"]["pointer"], fault["msg"]
    if fault["type"] == "extra_forbidden":
        return pointer, "there is no such field"
    return pointer, fault["msg"].removeprefix("Value error, ")
