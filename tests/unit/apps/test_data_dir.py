"""The data directory of `jobqueue dev`: one owner, secrets for nobody else."""

import stat
from pathlib import Path

import pytest

from jobqueue.apps.data_dir import owned
from jobqueue.apps.refusals import StartRefused


def test_signing_key_survives_and_is_long_enough(tmp_path: Path) -> None:
    with owned(tmp_path / "data") as directory:
        made = directory.signing_key()
    with owned(tmp_path / "data") as directory:
        assert directory.signing_key() == made
    assert len(made.encode()) >= 32


def test_secrets_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    with owned(tmp_path / "data") as directory:
        directory.write("api_key", "jq_x")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.path.iterdir()}
        assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
    assert modes == {"api_key": 0o600, "lock": 0o600}


def test_directory_in_use_is_refused_and_free_again_afterwards(tmp_path: Path) -> None:
    with owned(tmp_path), pytest.raises(StartRefused, match="in use"), owned(tmp_path):
        pass
    with owned(tmp_path) as directory:
        assert directory.read("api_key") is None


def test_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartRefused, match="--data-dir"), owned(tmp_path / "file"):
        pass
