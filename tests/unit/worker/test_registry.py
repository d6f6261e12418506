"""Handlers are found by name, and mistakes in them stop the start."""

import sys
from pathlib import Path

import pytest

import jobqueue
from jobqueue.worker.handlers import BUILTIN
from jobqueue.worker.registry import HandlerError, HandlerSpec, Registry, default_registry, load_handlers


async def work(ctx: object) -> None: ...


def plain(ctx: object) -> None: ...


def test_decorated_function_stays_as_it_is_and_is_registered(registry: Registry) -> None:
    assert registry.job("resize", queue="images", max_attempts=5, timeout=60, isolated=True)(work) is work
    assert registry.get("resize") == HandlerSpec("resize", work, "images", 5, 60, True)
    assert registry.job_types == ["resize"]


def test_second_handler_of_a_name_is_refused_naming_both(registry: Registry) -> None:
    registry.job("resize")(work)
    with pytest.raises(HandlerError, match=r"'resize' is registered twice: .*work and .*plain"):
        registry.job("resize")(plain)


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 101])
def test_malformed_name_is_refused(registry: Registry, name: str) -> None:
    with pytest.raises(HandlerError, match="a job type is"):
        registry.job(name)(work)


@pytest.mark.parametrize("name", ["a", "a.b:c-d_1", "x" * 100])
def test_well_formed_name_is_taken(registry: Registry, name: str) -> None:
    registry.job(name)(work)
    assert name in registry


@pytest.mark.parametrize("settings", [{"max_attempts": 0}, {"timeout": 0}, {"timeout": float("nan")}])
def test_impossible_setting_is_refused(registry: Registry, settings: dict[str, float]) -> None:
    with pytest.raises(HandlerError, match="handler 'x'"):
        registry.job("x", **settings)(work)  # type: ignore[arg-type]


def test_only_coroutine_functions_are_async(registry: Registry) -> None:
    assert HandlerSpec("a", work).is_async
    assert not HandlerSpec("b", plain).is_async


def test_check_names_the_handler_with_a_wrong_signature(registry: Registry) -> None:
    registry.job("broken")(lambda: None)
    with pytest.raises(HandlerError, match="handler 'broken': a handler's first parameter is its context"):
        registry.check()


def test_modules_are_loaded_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop_handlers.py").write_text("from jobqueue import job\n@job('shop.ship')\ndef ship(ctx): ...\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    load_handlers(["shop_handlers"])
    assert "shop.ship" in default_registry


def test_module_that_cannot_be_imported_is_named_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad_handlers.py").write_text("raise RuntimeError('two\\nlines')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for module in ("no_such_module", "bad_handlers"):
        with pytest.raises(HandlerError, match=f"cannot import handlers from '{module}'") as caught:
            load_handlers([module])
        assert "\n" not in str(caught.value)


def test_public_names_are_found_lazily() -> None:
    assert {"job", "Retry", "Discard", "Snooze"} <= set(dir(jobqueue))
    assert jobqueue.job == default_registry.job
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = jobqueue.no_such_name


def test_builtin_handlers_can_be_included(registry: Registry) -> None:
    registry.include(BUILTIN)
    registry.check()
    assert registry.job_types == [
        "csv_correct", "csv_validate", "echo", "email", "http_request", "image_resize", "report", "sleep",
    ]  # fmt: skip
