"""Turn a job's data into a handler's keyword arguments, checked against its signature.

The checker is made once per handler. Values are converted as JSON input is by pydantic in its lax mode: an int is taken where a float
is asked, a numeric string (rows of a CSV file are strings) where a number is, an ISO string where a datetime is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final, NotRequired, get_type_hints

import orjson

from jobqueue.worker.handler import ArgumentError

Parse = Callable[[str], dict[str, Any]]
"""data as JSON text -> keyword arguments. Raises ArgumentError."""

PROBLEMS_SHOWN_MAX: Final = 5

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class SignatureError(Exception):
    """The handler's signature cannot take a job: a mistake in its code."""


def compile_parse(function: Callable[..., Any]) -> Parse:
    """Make the checker of one handler. Raises SignatureError, also for annotations that cannot be resolved."""
    context, *parameters = _parameters(function)
    takes_anything = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    named = [parameter for parameter in parameters if parameter.kind in _NAMED]
    reserved = context.name if context.kind in _NAMED else None
    if takes_anything and not named:
        return _without_reserved(orjson.loads, reserved)
    parse = _checked(function, named, takes_anything)
    return _without_reserved(parse, reserved) if takes_anything else parse


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or parameters[0].kind not in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
        raise SignatureError("a handler's first parameter is its context: def handler(ctx, ...)")
    for parameter in parameters[1:]:
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise SignatureError(f"parameter {parameter.name!r} is positional-only, but data arrives as keyword arguments")
    return parameters


def _without_reserved(parse: Parse, reserved: str | None) -> Parse:
    """Refuse a key that is the name of the context parameter: Python would see the argument twice."""
    if reserved is None:
        return parse

    def parse_unreserved(data_json: str) -> dict[str, Any]:
        arguments = parse(data_json)
        if reserved in arguments:
            raise ArgumentError(f"argument {reserved!r} is unexpected: the name belongs to the handler's context")
        return arguments

    return parse_unreserved


def _checked(function: Callable[..., Any], named: list[inspect.Parameter], takes_anything: bool) -> Parse:
    from pydantic import ConfigDict, TypeAdapter, ValidationError  # slow to import; programs that only submit never need it
    from typing_extensions import TypedDict  # pydantic refuses typing.TypedDict before Python 3.12

    hints = _hints(function)
    fields: dict[str, Any] = {}
    for parameter in named:
        kind = hints.get(parameter.name, Any)
        fields[parameter.name] = kind if parameter.default is inspect.Parameter.empty else NotRequired[kind]
    make_shape: Any = TypedDict  # mypy only knows the form with a literal
    shape = make_shape("Arguments", fields)
    shape.__pydantic_config__ = ConfigDict(extra="allow" if takes_anything else "forbid", arbitrary_types_allowed=True)
    try:
        validate_json: Callable[[str], dict[str, Any]] = TypeAdapter(shape).validator.validate_json
    except Exception as error:  # pydantic has many ways to refuse an annotation
        raise SignatureError(f"the annotations cannot be checked: {error}") from error

    def parse(data_json: str) -> dict[str, Any]:
        try:
            return validate_json(data_json)
        except ValidationError as error:
            raise ArgumentError(_describe(error.errors(include_url=False, include_input=False, include_context=False))) from None

    return parse


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    target = function if inspect.isroutine(function) else type(function).__call__
    try:
        return get_type_hints(inspect.unwrap(target), include_extras=True)
    except (NameError, TypeError) as error:
        raise SignatureError(f"the annotations cannot be resolved: {error}") from error


def _describe(problems: list[Any]) -> str:
    """Say each problem in words that name the argument and what is wrong, without its value."""
    shown = [_describe_one(problem) for problem in problems[:PROBLEMS_SHOWN_MAX]]
    if len(problems) > PROBLEMS_SHOWN_MAX:
        shown.append(f"and {len(problems) - PROBLEMS_SHOWN_MAX} more")
    return "; ".join(shown)


def _describe_one(problem: Any) -> str:
    where = problem["loc"]
    if not where:
        return f"the data: {problem['msg']}"
    name, inside = where[0], where[1:]
    if problem["type"] == "missing" and not inside:
        return f"argument {name!r} is missing"
    if problem["type"] == "extra_forbidden" and not inside:
        return f"argument {name!r} is unexpected"
    path = "".join(f".{part}" for part in inside)
    return f"argument {name!r}{path}: {problem['msg']}"
