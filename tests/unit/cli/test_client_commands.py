"""The commands that speak to the service, without one: what is wrong usage, how arguments are read, how things look."""

from __future__ import annotations

import io
import os
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from jobqueue.apps.refusals import StartRefused
from jobqueue.cli import filters, imports, looks
from jobqueue.cli.bench_load import Load, Shape, due_s, quantiles
from jobqueue.cli.data import read_data
from jobqueue.cli.main import run
from jobqueue.cli.top_reading import Reading, group
from jobqueue.cli.top_screen import draw

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("JOBQUEUE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["jobs", "list"], 2, "no API key: set JOBQUEUE_API_KEY or give --api-key"),
        (["jobs", "list", "--url", "ftp://x", "--api-key", "k"], 2, "'ftp://x' is no address"),
        (["jobs", "list", "--url", "http://x:y", "--api-key", "k"], 2, "is no address"),
        (["jobs", "list", "--api-key", "two words"], 2, "characters no key has"),
        (["jobs", "list", "--url", "http://127.0.0.1:1", "--api-key", "k"], 1, "nothing answers at http://127.0.0.1:1"),
        (["jobs", "list", "--status", "foo"], 2, "'foo' is not one of"),
        (["jobs", "list", "--since", "yesterday"], 2, "--since: 'yesterday' is no time; write 30m"),
        (["jobs", "list", "--limit", "0"], 2, "--limit"),
        (["jobs", "submit"], 2, "TYPE"),
        (["jobs", "submit", "echo", "--data", "{x"], 2, "--data is not JSON"),
        (["jobs", "submit", "echo", "--data", "[1]"], 2, "--data must be a JSON object"),
        (["jobs", "submit", "echo", "--data-file", "missing"], 2, "cannot read 'missing': No such file"),
        (["jobs", "submit", "echo", "loose"], 2, "'loose' is no key=value"),
        (["jobs", "submit", "echo", "--delay", "soon"], 2, "--delay: 'soon' is no duration"),
        (["jobs", "submit", "echo", "--delay", "5", "--at", "1h"], 2, "exclude each other"),
        (["jobs", "import", "rows.csv"], 2, "--type"),
        (["jobs", "import", "rows.xlsx", "--type", "t", "--api-key", "k"], 2, "cannot tell what 'rows.xlsx' is; say --format"),
        (["jobs", "import", "rows.csv", "--type", "t", "--api-key", "k"], 2, "cannot read 'rows.csv': No such file"),
        (["jobs", "cancel"], 2, "name jobs by id, or by filters"),
        (["jobs", "watch", "x", "--queue", "q"], 2, "not both"),
        (["dlq", "replay"], 2, "say which"),
        (["dlq", "replay", "--all", "--type", "t"], 2, "say which"),
        (["bench", "--shape", "wild"], 2, "'wild' is not one of"),
        (["bench", "--json", "/no/such/directory/f"], 2, "cannot write"),
        (["jobs", "frob"], 2, "No such command"),
    ],
)
def test_wrong_call_is_one_line_on_stderr(arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("jobqueue: ")
    assert err.count("\n") == 1
    assert said in err


@pytest.mark.parametrize("noun", ["jobs", "dlq", "queues"])
def test_noun_alone_shows_its_verbs(noun: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([noun]) == 2
    assert "Commands:\n" in capsys.readouterr().out


@pytest.mark.parametrize("noun", ["jobs", "dlq", "queues"])
def test_every_reading_command_answers_programs(noun: str, capsys: pytest.CaptureFixture[str]) -> None:
    run([noun, "--help"])
    verbs = [line.split()[0] for line in capsys.readouterr().out.partition("Commands:\n")[2].splitlines() if line.startswith("  ")]
    for verb in [verb for verb in verbs if verb.isalpha()]:
        assert run([noun, verb, "--help"]) == 0
        assert "--json" in capsys.readouterr().out, verb


def test_key_of_a_dev_in_this_directory_is_used_for_this_machine_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".jobqueue").mkdir()
    (tmp_path / ".jobqueue/api_key").write_text("jq_dev\n")
    assert run(["jobs", "list", "--url", "http://127.0.0.1:1"]) == 1
    assert "nothing answers" in capsys.readouterr().err
    assert run(["jobs", "list", "--url", "http://example.com:1"]) == 2
    assert "no API key" in capsys.readouterr().err


def test_data_is_put_together_from_file_text_and_pairs(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text('{"a": 1, "b": 1, "c": 1}')
    found = read_data('{"b": 2, "c": 2}', "d.json", ["c=3", "t=ann", 'zip="01"', "n=null", "l=[1]", "e=a=b", "empty="])
    assert found == {"a": 1, "b": 2, "c": 3, "t": "ann", "zip": "01", "n": None, "l": [1], "e": "a=b", "empty": ""}


@pytest.mark.parametrize(("text", "found"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("1d", 86_400), ("0", 0)])
def test_durations_are_read(text: str, found: float) -> None:
    assert filters.seconds("--x", text) == found


@pytest.mark.parametrize("text", ["", "-1", "x", "1y", "nan", "inf", "s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(StartRefused, match="is no duration"):
        filters.seconds("--x", text)


def test_moments_are_times_or_distances_from_now() -> None:
    assert filters.moment("--since", "2h", now=NOW) == NOW - timedelta(hours=2)
    assert filters.moment("--at", "2h", now=NOW, is_future=True) == NOW + timedelta(hours=2)
    assert filters.moment("--at", "2026-11-25T12:00:00Z") == NOW
    assert filters.moment("--at", "2026-11-25") == NOW.replace(hour=0)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "-"), (0, "0 ms"), (0.0124, "12 ms"), (0.9999, "1.0 s"), (3.44, "3.4 s"), (119, "119.0 s"), (120, "2 m"), (7200, "2 h"),
     (200_000, "2 d")],
)  # fmt: skip
def test_durations_are_written_as_people_do(seconds: float | None, said: str) -> None:
    assert looks.duration(seconds) == said


def test_what_a_tenant_wrote_is_no_markup_and_cannot_move_the_cursor() -> None:
    assert looks.plain("[red]\x1b[2J\x07x\n").plain == "[red]\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}x\n"


def load(**changes: Any) -> Load:
    given = {"jobs": 100, "shape": Shape.STEADY, "rate": 10.0, "clients": 4, "batch": 10, "job_type": "t", "data_bytes": 0, "queue": "q",
             "is_waiting": True, "seconds_max": 1.0}  # fmt: skip
    return Load(**{**given, **changes})


def test_shapes_say_when_each_request_is_due() -> None:
    def times(shape: Shape) -> list[float]:
        return [at_s for at_s, _ in due_s(load(shape=shape))]

    assert times(Shape.BURST) == [0.0] * 10
    assert times(Shape.STEADY) == [float(second) for second in range(10)]
    ramp = times(Shape.RAMP)
    assert ramp[0] == 0
    assert all(later - earlier > 0 for earlier, later in pairwise(ramp))
    assert ramp[-1] - ramp[-2] < ramp[1] - ramp[0]
    assert sorted({at_s for at_s, _ in due_s(load(shape=Shape.SPIKES, batch=1))}) == [float(second) for second in range(10)]
    assert [count for _, count in due_s(load(jobs=25))] == [10, 10, 5]


def test_quantiles_are_of_the_values() -> None:
    assert quantiles([]) is None
    assert quantiles([3.0, 1.0, 2.0]) == {"p50": 2.0, "p95": 3.0, "p99": 3.0, "max": 3.0}


def failed(job_type: str, error: str, status: str = "dlq") -> Any:
    said = SimpleNamespace(type=error, message="it\x1b broke")
    return SimpleNamespace(job_type=job_type, status=status, error=said, finished_at=NOW, created_at=NOW)


def test_jobs_that_failed_in_the_same_way_are_one_row() -> None:
    found = group([failed("a", "X"), failed("b", "Y"), failed("b", "Y", "failed"), failed("b", "Z")])
    most = found[0]
    assert (most.job_type, most.error, most.buried, most.waiting) == ("b", "Y", 1, 1)
    assert len(found) == 3


def reading(queues: int, workers: int) -> Reading:
    figures = SimpleNamespace(ready=5, running=1, scheduled=0, failed=0, dlq=2, oldest_ready_age_seconds=90.0, arrival_rate=3.0,
                              completion_rate=2.5, desired_workers=1)  # fmt: skip
    alive = {
        "worker_id": "w",
        "running": 3,
        "concurrency": 10,
        "queues": ["*"],
        "job_types": list("abcde"),
        "last_heartbeat_at": NOW.isoformat(),
    }
    return Reading(
        at=NOW,
        by_status={"queued": 5, "dlq": 2},
        queues={f"queue-{number}": figures for number in range(queues)},
        paused=frozenset({"queue-0"}),
        workers=[alive] * workers,
        failing=group([failed("a", "X")]),
        arrivals=[1.0, 2.0, 3.0],
        completions=[0.0, 1.0, 2.5],
        tenant="acme",
    )


@pytest.mark.parametrize(("width", "height"), [(80, 24), (130, 40), (200, 60)])
@pytest.mark.parametrize(("queues", "workers"), [(0, 0), (1, 1), (100, 40)])
def test_top_fits_its_screen_whatever_there_is(width: int, height: int, queues: int, workers: int) -> None:
    console = Console(width=width, height=height, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(draw(reading(queues, workers), url="http://x", width=width, height=height))
    console.file.close()
    lines = console.export_text().splitlines()
    assert all(len(line.rstrip()) <= width for line in lines)
    assert len(lines) <= max(height, 34)
    text = "\n".join(lines)
    assert "no worker is alive" in text if not workers else "w " in text
    assert "\x1b" not in text


@contextmanager
def hanging_up() -> Iterator[str]:
    """A server that reads a little and hangs up; answers its address."""

    class HangUp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1000)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), HangUp) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_an_import_that_broke_off_says_that_it_may_be_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rows.csv").write_text("a\n1\n")
    with hanging_up() as url:
        assert run(["jobs", "import", "rows.csv", "--type", "t", "--url", url, "--api-key", "k"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "run it again: what is stored already is not added twice" in err


def test_an_import_tells_how_far_it_is_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for is_terminal in (True, False):
        console = Console(file=io.StringIO(), force_terminal=is_terminal, width=100)
        monkeypatch.setattr(imports, "screen", lambda *, is_error, console=console: console)
        with imports.bar("people.csv") as on_progress:
            on_progress(500_000, 1_000_000)
        assert isinstance(console.file, io.StringIO)
        assert ("people.csv" in console.file.getvalue()) is is_terminal
