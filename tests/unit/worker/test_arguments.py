"""Data becomes keyword arguments only if it fits the signature."""

from datetime import datetime
from typing import Any

import orjson
import pytest

from jobqueue.worker.arguments import SignatureError, compile_parse
from jobqueue.worker.handler import ArgumentError


def parse(function: Any, data: dict[str, Any]) -> dict[str, Any]:
    return compile_parse(function)(orjson.dumps(data).decode())


def resize(ctx: object, path: str, width: int, *, scale: float = 1.0, tags: list[str] | None = None) -> None: ...


def anything(ctx: object, **data: Any) -> None: ...


def some(ctx: object, width: int, **rest: Any) -> None: ...


def bare(ctx, path, width=1):  # type: ignore[no-untyped-def]
    ...


def test_fitting_data_is_passed_on_and_defaults_are_left_to_the_function() -> None:
    assert parse(resize, {"path": "a", "width": 3}) == {"path": "a", "width": 3}


def test_int_is_taken_where_a_float_is_asked() -> None:
    assert parse(resize, {"path": "a", "width": 3, "scale": 2})["scale"] == 2.0


def test_numeric_text_of_a_csv_row_is_taken_where_a_number_is_asked() -> None:
    assert parse(resize, {"path": "a", "width": "64"})["width"] == 64


def test_time_arrives_as_a_datetime() -> None:
    def at(ctx: object, when: datetime) -> None: ...

    assert parse(at, {"when": "2025-01-01T00:00:00Z"})["when"].year == 2025


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"path": "a"}, "argument 'width' is missing"),
        ({"path": "a", "width": 1, "colour": "secret"}, "argument 'colour' is unexpected"),
        ({"path": "a", "width": "secret"}, "argument 'width': "),
        ({"path": 7, "width": 1}, "argument 'path': "),
        ({"path": "a", "width": 1, "tags": ["a", 7]}, "argument 'tags'.1: "),
        ({}, "argument 'path' is missing; argument 'width' is missing"),
    ],
)
def test_misfit_is_refused_naming_the_argument_but_not_its_value(data: dict[str, Any], said: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        parse(resize, data)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_handler_of_keywords_takes_everything() -> None:
    assert parse(anything, {"a": 1, "b": [None]}) == {"a": 1, "b": [None]}


def test_keywords_beside_named_arguments_take_the_rest_and_the_named_are_checked() -> None:
    assert parse(some, {"width": 1, "more": "x"}) == {"width": 1, "more": "x"}
    with pytest.raises(ArgumentError, match="'width'"):
        parse(some, {"width": "wide"})


@pytest.mark.parametrize("function", [anything, some])
def test_key_with_the_name_of_the_context_is_refused(function: Any) -> None:
    with pytest.raises(ArgumentError, match="'ctx' is unexpected"):
        parse(function, {"ctx": 1, "width": 1})


def test_context_that_is_positional_only_leaves_its_name_to_the_data() -> None:
    def free(_ctx: object, /, **data: Any) -> None: ...

    assert parse(free, {"_ctx": 1}) == {"_ctx": 1}


def test_unannotated_parameters_take_any_value_but_must_be_there() -> None:
    assert parse(bare, {"path": [1]}) == {"path": [1]}
    with pytest.raises(ArgumentError, match="'path' is missing"):
        parse(bare, {})


def test_handler_without_context_or_with_positional_only_data_is_refused() -> None:
    def positional(ctx: object, path: str, /) -> None: ...

    for function in (lambda: None, lambda *, ctx: None, positional):
        with pytest.raises(SignatureError):
            compile_parse(function)


def test_annotation_that_cannot_be_resolved_is_refused() -> None:
    def unknown(ctx: object, path: "NoSuchType") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(SignatureError, match="NoSuchType"):
        compile_parse(unknown)
