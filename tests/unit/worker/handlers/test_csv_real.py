"""Two real files through both handlers, as jobs of a worker; every figure is counted again by pandas, which reads the file itself."""

from __future__ import annotations

from importlib.resources import files as resource_files
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import pytest

from jobqueue.worker.handlers import BUILTIN
from jobqueue.worker.registry import Registry
from tests.fakes.backend import FakeEngine
from tests.unit.worker.handlers.csv_jobs import broken
from tests.unit.worker.harness import working

AIRPORTS, WEATHER = "airports.csv", "seattle-weather.csv"

AIRPORT_RULES: dict[str, Any] = {
    "iata": {"required": True, "unique": True, "pattern": "[A-Z]{3}"},
    "name": {"required": True, "max_length": 30},
    "city": {"unique": True},
    "state": {"required": True, "pattern": "[A-Z]{2}", "allowed": ["AK", "CA", "NY", "TX", "WA"]},
    "country": {"allowed": ["USA"]},
    "latitude": {"type": "number", "min": 30, "max": 49.5},
    "longitude": {"type": "number", "max": 0},
}
WEATHER_RULES: dict[str, Any] = {
    "date": {"required": True, "type": "date", "format": "%Y/%m/%d", "min": "2012-02-01", "max": "2015-12-30", "unique": True},
    "precipitation": {"type": "number", "max": 40},
    "temp_max": {"type": "integer"},
    "temp_min": {"type": "number", "min": 0},
    "wind": {"type": "number", "unique": True},
    "weather": {"allowed": ["sun", "rain", "snow", "fog"]},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "demo").mkdir()
    for name in (AIRPORTS, WEATHER):
        (tmp_path / "demo" / name).write_bytes((resource_files("vega_datasets") / "_data" / name).read_bytes())
    return tmp_path


async def result_of(engine: FakeEngine, root: Path, job_type: str, data: dict[str, Any], *, crashes: int = 0) -> Any:
    """Run a job as a worker does; after a crash it runs in a process of its own."""
    registry = Registry()
    registry.include(BUILTIN)
    job_id: UUID = engine.submit(job_type, data, crashes=crashes)
    async with working(engine, registry, files_dir=str(root)):
        await engine.until(lambda: bool(engine.job(job_id).outcomes), within_s=60)
    assert engine.job(job_id).status == "succeeded", engine.job(job_id).outcome.failure
    return engine.job(job_id).result


def frame(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def judged(masks: dict[tuple[str, str], Any]) -> tuple[dict[str, int], int, list[tuple[int, str, str]]]:
    """Of (column, rule) -> which rows break it: counts by rule, invalid rows, and (line, column, rule) in order of lines."""
    by_rule: dict[str, int] = {}
    for (_, rule), mask in masks.items():
        by_rule[rule] = by_rule.get(rule, 0) + int(mask.sum())
    table = pd.DataFrame({f"{column} {rule}": mask for (column, rule), mask in masks.items()})
    told = [(int(row) + 2, column, rule) for (column, rule), mask in masks.items() for row in mask[mask].index]
    return {rule: count for rule, count in by_rule.items() if count}, int(table.any(axis=1).sum()), sorted(told, key=lambda one: one[0])


def airport_masks(table: pd.DataFrame) -> dict[tuple[str, str], Any]:
    latitude, longitude = pd.to_numeric(table.latitude), pd.to_numeric(table.longitude)
    has_state = table.state != ""
    return {
        ("iata", "pattern"): ~(table.iata.str.len().eq(3) & table.iata.str.isalpha() & table.iata.str.isupper()),
        ("iata", "unique"): table.iata.duplicated(),
        ("name", "max_length"): table.name.str.len() > 30,
        ("city", "unique"): table.city.duplicated() & (table.city != ""),
        ("state", "required"): ~has_state,
        ("state", "pattern"): has_state & ~(table.state.str.len().eq(2) & table.state.str.isupper()),
        ("state", "allowed"): has_state & ~table.state.isin(["AK", "CA", "NY", "TX", "WA"]),
        ("country", "allowed"): table.country != "USA",
        ("latitude", "min"): latitude < 30,
        ("latitude", "max"): latitude > 49.5,
        ("longitude", "max"): longitude > 0,
    }


def weather_masks(table: pd.DataFrame) -> dict[tuple[str, str], Any]:
    day = pd.to_datetime(table.date, format="%Y/%m/%d")
    return {
        ("date", "min"): day < pd.Timestamp(2012, 2, 1),
        ("date", "max"): day > pd.Timestamp(2015, 12, 30),
        ("date", "unique"): table.date.duplicated(),
        ("precipitation", "max"): table.precipitation.astype(float) > 40,
        ("temp_max", "type"): table.temp_max.str.contains(".", regex=False),
        ("temp_min", "min"): table.temp_min.astype(float) < 0,
        ("wind", "unique"): table.wind.duplicated(),
        ("weather", "allowed"): ~table.weather.isin(["sun", "rain", "snow", "fog"]),
    }


@pytest.mark.parametrize("crashes", [0, 1])
@pytest.mark.parametrize(("name", "rules", "masks"), [(AIRPORTS, AIRPORT_RULES, airport_masks), (WEATHER, WEATHER_RULES, weather_masks)])
async def test_validation_counts_what_pandas_counts(
    engine: FakeEngine, root: Path, name: str, rules: dict[str, Any], masks: Any, crashes: int
) -> None:
    result = await result_of(engine, root, "csv_validate", {"path": name, "rules": rules}, crashes=crashes)
    table = frame(root / "demo" / name)
    by_rule, invalid, told = judged(masks(table))
    assert result["by_rule"] == by_rule
    assert (result["rows"], result["invalid"], result["valid"]) == (len(table), invalid, len(table) - invalid)
    assert (result["errors_total"], result["errors_truncated"]) == (len(told), len(told) > 1_000)
    assert len(result["errors"]) == min(len(told), 1_000)
    whole_lines = [error for error in broken(result) if error[0] < result["errors"][-1]["line"]]
    assert sorted(whole_lines) == sorted(one for one in told if one[0] < result["errors"][-1]["line"])
    for error in result["errors"]:
        assert error["value"] == table.iloc[error["line"] - 2][error["column"]][:80]


async def test_airports_are_corrected_as_pandas_does_it(engine: FakeEngine, root: Path) -> None:
    data = {
        "path": AIRPORTS,
        "output": "out/airports.csv",
        "corrections": {
            "name": {"trim": True, "case": "upper"},
            "state": {"map": {"NA": ""}, "default": "??"},
            "country": {"map": {"USA": "US", "Thailand": "TH"}},
        },
        "rules": {"state": {"required": True}, "country": {"max_length": 2}},
    }
    result = await result_of(engine, root, "csv_correct", data)
    before, after = frame(root / "demo" / AIRPORTS), frame(root / "demo/out/airports.csv")
    expected = before.copy()
    expected["name"] = before.name.str.strip().str.upper()
    expected["state"] = before.state.replace({"NA": "??"})
    expected["country"] = before.country.replace({"USA": "US", "Thailand": "TH"})
    pd.testing.assert_frame_equal(after, expected)
    differs = before != expected
    assert (result["rows"], result["values_changed"], result["rows_changed"]) == (
        len(before),
        int(differs.sum().sum()),
        int(differs.any(axis=1).sum()),
    )
    missing = int((before.state == "NA").sum())
    assert missing > 0
    assert result["changed"]["state"] == {"map": missing, "default": missing}
    assert result["changed"]["country"] == {"map": int(differs.country.sum())}
    assert result["changed"]["name"]["case"] == int((before.name.str.strip() != expected.name).sum())
    assert result["changed"]["name"].get("trim", 0) == int((before.name != before.name.str.strip()).sum())
    assert result["changes_truncated"]
    for change in result["changes"]:
        row = change["line"] - 2
        assert (change["before"], change["after"]) == (before.iloc[row][change["column"]][:80], expected.iloc[row][change["column"]][:80])
    long = int((expected.country.str.len() > 2).sum())
    assert (result["validation"]["is_valid"], result["validation"]["by_rule"]) == (long == 0, {"max_length": long} if long else {})


async def test_weather_is_corrected_as_pandas_does_it_and_then_keeps_its_rules(engine: FakeEngine, root: Path) -> None:
    data = {
        "path": WEATHER,
        "output": "weather.csv",
        "corrections": {
            "date": {"date": {"formats": ["%Y/%m/%d"]}},
            "weather": {"map": {"drizzle": "rain"}, "case": "title"},
            "wind": {"number": {"decimal": "."}},
        },
        "rules": {"date": {"type": "date", "required": True, "unique": True}, "weather": {"allowed": ["Sun", "Rain", "Snow", "Fog"]}},
    }
    result = await result_of(engine, root, "csv_correct", data)
    before, after = frame(root / "demo" / WEATHER), frame(root / "demo/weather.csv")
    expected = before.copy()
    expected["date"] = pd.to_datetime(before.date, format="%Y/%m/%d").dt.strftime("%Y-%m-%d")
    expected["weather"] = before.weather.replace({"drizzle": "rain"}).str.capitalize()
    pd.testing.assert_frame_equal(after, expected)
    rows = len(before)
    assert result["changed"] == {"date": {"date": rows}, "weather": {"map": int((before.weather == "drizzle").sum()), "case": rows}}
    assert (result["rows"], result["rows_changed"], result["values_changed"], result["unfit"]) == (rows, rows, 2 * rows, {})
    assert result["validation"]["is_valid"]
    again = await result_of(engine, root, "csv_validate", {"path": "weather.csv", "rules": data["rules"]})
    assert (again["is_valid"], again["valid"]) == (True, rows)


async def test_cancelled_job_ends_soon_and_leaves_no_file(engine: FakeEngine, root: Path) -> None:
    (root / "demo/big.csv").write_bytes(b"a,b\n" + b"1,some text\n" * 3_000_000)
    registry = Registry()
    registry.include(BUILTIN)
    job_id = engine.submit("csv_correct", {"path": "big.csv", "output": "out.csv", "corrections": {"b": {"case": "upper"}}})
    engine.job(job_id).lease_s = 1.2
    async with working(engine, registry, files_dir=str(root)):
        await engine.until(lambda: engine.job(job_id).percent is not None, within_s=20)
        engine.ask_to_cancel(job_id)
        await engine.until_status(job_id, "cancelled")
    assert sorted(path.name for path in (root / "demo").iterdir()) == [AIRPORTS, "big.csv", WEATHER]


async def test_wrong_rule_buries_the_job_at_its_first_attempt_naming_it(engine: FakeEngine, root: Path) -> None:
    registry = Registry()
    registry.include(BUILTIN)
    ids = [
        engine.submit("csv_validate", {"path": AIRPORTS, "rules": rules})
        for rules in ({"iata": {"uniq": True}}, {"IATA": {"unique": True}})
    ]
    async with working(engine, registry, files_dir=str(root)):
        failures = [(await engine.until_status(job_id, "dlq")).outcome.failure for job_id in ids]
    assert [failure.type for failure in failures if failure] == ["ArgumentError", "ArgumentError"]
    assert failures[0] is not None
    assert failures[1] is not None
    assert "'rules'.iata.uniq" in failures[0].message
    assert "no column 'IATA'; it has 'iata'" in failures[1].message
