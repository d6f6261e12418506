"""The pages of reference are as the code would write them now."""

import pytest

from scripts.reference import DOCS, pages


@pytest.mark.parametrize("name", ["reference_cli.md", "reference_settings.md", "reference_problems.md", "reference_python.md"])
def test_page_is_as_the_code_says(name: str) -> None:
    assert (DOCS / name).read_text() == pages()[name], "run: python -m scripts.reference"
