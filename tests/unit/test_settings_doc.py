"""docs/settings.md says what config.py does."""

import re
from pathlib import Path

import pytest

from jobqueue.config import OLDER_NAMES, PREFIX, Settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
ROW = re.compile(r"\| `(\w+)`(?: \[`(\w+)`\])? \| (.*?) \| .+ \|")
ROWS = {name: (older or None, default) for name, older, default in ROW.findall(PAGE.read_text())}


def variable(field: str) -> str:
    return PREFIX + ("API_SECRET_KEY" if field == "api_secret_keys" else field.upper())


def written(default: object) -> str:
    match default:
        case None | []:
            return "none"
        case list():
            return ",".join(map(str, default))
        case bool():
            return str(default).lower()
        case _:
            return f"{default:.12g}" if isinstance(default, (int, float)) else str(default)


def test_page_names_every_variable_and_no_other() -> None:
    assert list(ROWS) == [variable(field) for field in Settings.model_fields]


@pytest.mark.parametrize("field", [field for field in Settings.model_fields if field != "database_direct_url"])
def test_older_name_and_default_are_those_of_the_code(field: str) -> None:
    assert ROWS[variable(field)] == (OLDER_NAMES.get(field), written(Settings.model_fields[field].default))
