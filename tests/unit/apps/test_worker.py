"""What the settings make of a worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobqueue.apps.refusals import StartRefused
from jobqueue.apps.worker_setup import load_registry, worker_options
from jobqueue.config import load


def test_files_directory_is_handed_on_as_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "files").mkdir()
    monkeypatch.chdir(tmp_path)
    assert worker_options(load({"JOBQUEUE_FILES_DIR": "files"}), worker_id="w").files_dir == str(tmp_path / "files")
    assert worker_options(load({}), worker_id="w").files_dir is None


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_files_directory_that_is_none_stops_the_start_naming_the_variable(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartRefused, match="JOBQUEUE_FILES_DIR: it is not a directory"):
        worker_options(load({"JOBQUEUE_FILES_DIR": str(tmp_path / name)}), worker_id="w")


def test_csv_handlers_come_with_the_worker() -> None:
    assert {"csv_correct", "csv_validate"} <= set(load_registry([]).job_types)
