"""Read a CSV of any size: bytes -> text -> physical lines -> records, each in bounded memory, nothing lost without a word.

Records are told with the number of the physical line they begin on, as an editor counts: a quoted field may hold line ends. What
cannot be read as a record is told as a Fault in its place, and reading goes on after it.

Bytes that are not of the encoding become lone surrogates (`surrogateescape`), so that they can be told with line and column; NUL
characters pass. Both are rare, so they are looked for once a chunk, and only files that have one pay for the search in every field.
"""

from __future__ import annotations

import codecs
import csv
import io
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Final

from jobqueue.worker.files import FileRefused
from jobqueue.worker.handler import ArgumentError, Context, Discard

CHUNK_BYTES: Final = 128 * 1024
"""Read at once; progress is told and cancellation heeded after each: some 5,000 usual rows."""

RECORD_CHARS_MAX: Final = 1024 * 1024
"""One record with its line ends. A quote that is never closed swallows this much, then reading goes on."""

FIELD_CHARS_MAX: Final = 128 * 1024
"""One field. The csv module has one bound for the whole process, so it is set before each record."""

BOM: Final = "\ufeff"
MIB: Final = 1024**2

ENCODINGS: Final = frozenset(
    {
        "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "ascii", "iso8859-1",
        "iso8859-2", "iso8859-3", "iso8859-4", "iso8859-5", "iso8859-6", "iso8859-7", "iso8859-8", "iso8859-9", "iso8859-10",
        "iso8859-11", "iso8859-13", "iso8859-14", "iso8859-15", "iso8859-16", "cp437", "cp850", "cp852", "cp866", "cp874",
        "cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "koi8-r", "koi8-u", "mac-roman",
        "shift_jis", "cp932", "euc_jp", "iso2022_jp", "gb2312", "gbk", "gb18030", "big5", "cp950", "euc_kr", "cp949",
    }
)  # fmt: skip
"""By the names Python's codecs give themselves; others that Python has are no text encodings, or none that files have."""

_FOREIGN_BOMS: Final = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a record could not be read. rule: what it is counted under."""

    rule: str
    reason: str


Record = tuple[int, list[str] | Fault]
"""The line it begins on, and its fields; [] for a blank line."""


class RecordTooLong(Exception):
    """More than RECORD_CHARS_MAX without an end."""


def check_delimiter(delimiter: str) -> None:
    """Raise ArgumentError for what cannot separate fields."""
    if len(delimiter) != 1 or delimiter in '"\r\n\0' or (not delimiter.isprintable() and delimiter != "\t"):
        raise ArgumentError("argument 'delimiter' is one character, and no quote or line end")


def check_encoding(encoding: str) -> str:
    """Find the canonical name of an encoding. Raises ArgumentError."""
    try:
        name = codecs.lookup(encoding).name
    except (LookupError, ValueError, UnicodeError):
        name = ""
    if name not in ENCODINGS:
        raise ArgumentError(f"argument 'encoding': {encoding[:40]!r} is not known; usual ones are utf-8, cp1252, iso8859-15, utf-16")
    return name


class Text:
    """The decoded chunks of one CSV. is_odd: whether a NUL or an undecodable byte has come by yet."""

    def __init__(self, pieces: Iterator[str], ctx: Context, *, size: int, consumed: Callable[[], int]) -> None:
        self._pieces = pieces
        self._ctx = ctx
        self._size = size
        self._consumed = consumed
        self.is_odd = False
        self.has_bom = False

    def __iter__(self) -> Iterator[str]:
        is_first = True
        for piece in self._pieces:
            if is_first and piece:
                is_first = False
                self.has_bom = self.has_bom or piece.startswith(BOM)
                piece = piece.removeprefix(BOM)
            self.is_odd = self.is_odd or "\0" in piece or not _is_encodable(piece)
            self._tell()
            yield piece

    def _tell(self) -> None:
        heed(self._ctx)
        done, size = self._consumed(), max(self._size, 1)
        self._ctx.progress(min(99.0, 100 * done / size), f"{done / MIB:.1f} of {size / MIB:.1f} MiB")


def heed(ctx: Context) -> None:
    """End the run here if it was told to stop. Only the worker knows what for: from a thread too it judges by this error."""
    if ctx.cancelled:
        raise CancelledError


@contextmanager
def open_text(ctx: Context, text: str | None, path: str | None, encoding: str) -> Iterator[Text]:
    """Open the one of the two that is given. Raises ArgumentError, FileRefused, OSError; Discard while reading, for a wrong encoding."""
    if (text is None) == (path is None):
        raise ArgumentError("argument 'csv' or argument 'path' is needed, and not both")
    if text is not None:
        yield _inline(ctx, text)
        return
    assert path is not None
    name = check_encoding(encoding)
    with ctx.files.read(path) as file:
        yield _of_file(ctx, file, path, name)


def _inline(ctx: Context, text: str) -> Text:
    at = 0

    def pieces() -> Iterator[str]:
        nonlocal at
        while at < len(text):
            piece = text[at : at + CHUNK_BYTES]
            at += len(piece)
            yield piece

    return Text(pieces(), ctx, size=len(text), consumed=lambda: at)


def _of_file(ctx: Context, file: BinaryIO, path: str, encoding: str) -> Text:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(4)
    file.seek(0)
    if not encoding.startswith(("utf-16", "utf-32")):
        for bom, right in _FOREIGN_BOMS:
            if head.startswith(bom):
                raise Discard(f"file {path!r} begins with the mark of {right}; say encoding {right!r}, not {encoding!r}")
    done = 0
    decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")

    def pieces() -> Iterator[str]:
        nonlocal done
        while chunk := file.read(CHUNK_BYTES):
            yield _decode(decoder, chunk, False, path, encoding, done)
            done += len(chunk)
            if done > size:  # its writer is faster than we are, or it never ends
                raise FileRefused(f"file {path!r} grows while it is read")
        yield _decode(decoder, b"", True, path, encoding, done)

    text = Text(pieces(), ctx, size=size, consumed=lambda: done)
    text.has_bom = any(head.startswith(bom) for bom, _ in _FOREIGN_BOMS) or head.startswith(codecs.BOM_UTF8)
    return text


def _decode(decoder: codecs.IncrementalDecoder, chunk: bytes, is_last: bool, path: str, encoding: str, at: int) -> str:
    try:
        return decoder.decode(chunk, is_last)
    except UnicodeDecodeError as error:  # encodings of units of several bytes have no way to go on
        raise Discard(f"file {path!r} is not {encoding}: {error.reason} near byte {at + error.start}") from None


def _is_encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Lines:
    """Physical lines, ended by \\n, \\r\\n or \\r, their ends kept. RecordTooLong is raised in place of one that makes its record too long.

    record_chars counts since the reader of records set it to 0. unread: lines passed over, which csv.reader's count does not have.
    """

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces = pieces
        self._ready: Iterator[str] = iter(())
        self._rest = ""
        self._is_skipping = False
        self.record_chars = 0
        self.unread = 0

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        while True:
            for line in self._ready:
                self.record_chars += len(line)
                if self.record_chars > RECORD_CHARS_MAX:
                    self.unread += 1
                    raise RecordTooLong
                return line
            self._load()

    def _load(self) -> None:
        """Make the next whole lines ready. Raises StopIteration at the end."""
        piece = next(self._pieces, None)
        if piece is None:
            text, self._rest = self._rest, ""
            if self._is_skipping or not text:
                raise StopIteration
            self._ready = io.StringIO(text, newline="")
            return
        text = self._rest + piece
        end = 1 + max(text.rfind("\n"), text.rfind("\r", 0, len(text) - 1))  # a \r at the very end may be half of a \r\n
        self._rest = text[end:]
        ready: Iterator[str] = io.StringIO(text[:end], newline="")
        if self._is_skipping and end:
            next(ready)  # what is left of the line that was too long
            self._is_skipping = False
        self._ready = ready
        if len(self._rest) > RECORD_CHARS_MAX:
            self._ready = self._then_too_long(ready)

    def _then_too_long(self, ready: Iterator[str]) -> Iterator[str]:
        """Give what is ready, then the fault of the line after it; the rest of that line is passed over."""
        yield from ready
        is_told, self._is_skipping, self._rest = self._is_skipping, True, ""
        if not is_told:
            self.unread += 1
            raise RecordTooLong


class Records:
    """The records of a text, by their lines. `line` is where the newest one begins."""

    def __init__(self, text: Text, *, delimiter: str) -> None:
        self._text = text
        self._lines = Lines(iter(text))
        self._reader = csv.reader(self._lines, delimiter=delimiter, strict=True)

    def __iter__(self) -> Iterator[Record]:
        reader, lines = self._reader, self._lines
        while True:
            line = reader.line_num + lines.unread + 1
            lines.record_chars = 0
            csv.field_size_limit(FIELD_CHARS_MAX)  # the process's, which others may have changed meanwhile
            try:
                fields = next(reader)
            except StopIteration:
                return
            except RecordTooLong:
                yield line, Fault("size", f"has more than {RECORD_CHARS_MAX:,} characters{self._up_to(line)}; is a quote not closed?")
            except csv.Error as error:
                yield line, self._explain(str(error), line)
            else:
                yield line, self._checked(fields)

    def _checked(self, fields: list[str]) -> list[str] | Fault:
        if self._lines.record_chars > FIELD_CHARS_MAX and any(len(field) > FIELD_CHARS_MAX for field in fields):
            return Fault("size", f"has a field of more than {FIELD_CHARS_MAX:,} characters")
        return fields

    def _explain(self, message: str, line: int) -> Fault:
        if "field larger" in message:
            return Fault("size", f"has a field of more than {FIELD_CHARS_MAX:,} characters{self._up_to(line)}; is a quote not closed?")
        if "end of data" in message:
            return Fault("quoting", "has a quote that is not closed by the end of the file")
        if "expected after" in message:
            return Fault("quoting", "has text after a closing quote; a quote inside a quoted field is written twice")
        return Fault("quoting", f"cannot be read: {message}")

    def _up_to(self, line: int) -> str:
        last = self._reader.line_num + self._lines.unread
        return f" (up to line {last})" if last > line else ""


def faults_of(field: str) -> Fault | None:
    """Say what keeps a field of an odd file from being text."""
    if "\0" in field:
        return Fault("nul", "has a NUL character")
    if not _is_encodable(field):
        return Fault("encoding", "has bytes that are not of the encoding")
    return None
