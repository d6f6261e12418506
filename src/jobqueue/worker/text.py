"""Text as the database can hold it."""

from __future__ import annotations


def storable(text: str) -> str:
    """Write what a Postgres text cannot hold, NUL and lone surrogates, as escapes."""
    if "\x00" in text:
        text = text.replace("\x00", "\\x00")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text
