"""Run a CSV handler as the worker does: data through the signature, the result through the checks of an outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from jobqueue.domain.outcome import OutcomeKind
from jobqueue.worker import outcomes
from jobqueue.worker.files import Files
from jobqueue.worker.handlers import BUILTIN

SPECS = {spec.name: spec for spec in BUILTIN}


@dataclass
class FakeContext:
    """What the handlers use of a Context. cancel_after: progress reports until the run is told to stop."""

    root: Path | None = None
    cancel_after: int | None = None
    told: list[tuple[float, str]] = field(default_factory=list)

    @property
    def files(self) -> Files:
        return Files(None if self.root is None else str(self.root), "demo")

    @property
    def cancelled(self) -> bool:
        return self.cancel_after is not None and len(self.told) >= self.cancel_after

    def progress(self, percent: float, message: str = "") -> None:
        assert 0 <= percent <= 100
        self.told.append((percent, message))


def run(name: str, data: dict[str, Any], ctx: FakeContext | None = None, *, is_raw: bool = False) -> Any:
    """Give the result as the database would. is_raw: data that JSON cannot carry goes past the signature's check of texts."""
    spec = SPECS[name]
    texts = {key: data[key] for key in ("csv",) if is_raw and key in data}
    arguments = spec.parse(orjson.dumps({**data, **dict.fromkeys(texts, "")}).decode()) | texts
    outcome = outcomes.of_value(spec.function(FakeContext() if ctx is None else ctx, **arguments))
    assert outcome.kind == OutcomeKind.SUCCEEDED, outcome.failure
    assert outcome.result_json is not None
    assert len(outcome.result_json.encode()) <= outcomes.RESULT_BYTES_MAX
    return orjson.loads(outcome.result_json)


def validate(csv: str, rules: dict[str, Any] | None = None, **options: Any) -> Any:
    """Validate an inline CSV."""
    return run("csv_validate", {"csv": csv, "rules": rules or {}, **options}, is_raw=True)


def correct(csv: str, corrections: dict[str, Any] | None = None, **options: Any) -> Any:
    """Correct an inline CSV."""
    return run("csv_correct", {"csv": csv, "corrections": corrections or {}, **options}, is_raw=True)


def broken(result: Any) -> list[tuple[int, str | None, str]]:
    """Tell a result's errors by line, column and rule."""
    return [(error["line"], error["column"], error["rule"]) for error in result["errors"]]
