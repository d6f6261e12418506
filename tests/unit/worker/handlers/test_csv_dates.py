"""Date formats against `datetime.strptime`, which is what users know them from."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.worker.handlers.csv_dates import DateFormat, FormatError, read_iso_date, read_iso_datetime

FORMATS = [
    "%Y-%m-%d",
    "%d/%m/%y",
    "%Y%m%d",
    "%b %d, %Y",
    "%d. %B %Y",
    "%d/%m/%Y %H:%M:%S.%f",
    "%I:%M %p %m-%d-%Y",
    "%Y-%m-%dT%H:%M:%S%z",
    "%% %d{}%m.%Y",
]
moments = st.datetimes(datetime(1969, 1, 1), datetime(2068, 12, 31))  # noqa: DTZ001 - hypothesis asks for naive bounds


@given(moments, st.sampled_from(FORMATS))
def test_what_strftime_writes_is_read_as_strptime_reads_it_and_written_the_same(moment: datetime, text: str) -> None:
    form = DateFormat(text)
    written = moment.replace(tzinfo=UTC).strftime(text)
    expected = datetime.strptime(written, text)  # noqa: DTZ007 - compared without
    found = form.read(written)
    assert found is not None
    assert found.replace(tzinfo=None) == expected.replace(tzinfo=None)
    assert form.write(found) == written


@given(st.text(st.sampled_from("0123456789/ "), max_size=10), st.sampled_from(["%d/%m/%Y", "%Y%m%d"]))
def test_what_strptime_refuses_is_refused(written: str, text: str) -> None:
    try:
        expected = datetime.strptime(written, text).replace(tzinfo=UTC)
    except ValueError:
        expected = None
    found = DateFormat(text).read(written)
    assert found == expected or " " in written  # strptime takes a space for a leading zero


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "1 to 100"), ("%d" * 51, "1 to 100"), ("%Y-%m", "a day"), ("%m-%d", "a year"), ("%Y-%d", "a month"), ("%Y%m%d%Y", "twice"),
        ("%Y%y%m%d", "a year"), ("%Y-%m-%d %j", "%j"), ("%Y-%m-%d %", "%"), ("%Y-%m-%d %I", "%I and %p"), ("%Y-%m-%d %H %p", "%I and %p"),
        ("%Y-%m-%d %H %I %p", "hour twice"),
    ],
)  # fmt: skip
def test_format_that_says_no_day_is_refused(text: str, says: str) -> None:
    with pytest.raises(FormatError, match=says):
        DateFormat(text)


@given(st.dates())
def test_iso_dates_are_read(day: object) -> None:
    found = read_iso_date(str(day))
    assert found is not None
    assert found.date() == day


@pytest.mark.parametrize("text", ["2024-02-30", "0000-01-01", "2024-W01-1", "２０２４-01-01", "2024-01-01\n"])
def test_what_only_looks_like_an_iso_date_is_not_one(text: str) -> None:
    assert read_iso_date(text) is None
    assert read_iso_datetime(f"{text}T00:00") is None


@given(st.datetimes(timezones=st.just(UTC)))
def test_iso_times_are_read(moment: datetime) -> None:
    assert read_iso_datetime(moment.isoformat()) == moment
