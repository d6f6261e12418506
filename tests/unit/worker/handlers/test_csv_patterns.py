"""Patterns out of a job's data cannot stop the worker."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.worker.handlers.csv_patterns import (
    PATTERN_CHARS_MAX,
    PATTERN_WEIGHT_MAX,
    VALUE_CHARS_MAX,
    PatternError,
    compile_pattern,
    weigh,
)


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"[A-Z]{2}\d{2}[A-Z0-9]{1,30}", "DE89370400440532013000", "de89"),
        (r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", "550e8400-e29b-41d4-a716-446655440000", "550e8400"),
        (r"[^@\s]+@[^@\s]+\.[a-z]{2,63}", "a.b@example.org", "a.b@example"),
        (r"\p{L}+", "Žižek", "a1"),
        (r"(?i)abc|def", "DEF", "abcdef"),
        (r"[\]\[]", "]", "x"),
        (r"a\{3\}", "a{3}", "aaa"),
        ("", "", "x"),
    ],
)
def test_usual_pattern_matches_whole_values(pattern: str, good: str, bad: str) -> None:
    matches = compile_pattern(pattern)
    assert matches(good)
    assert not matches(bad)


@pytest.mark.parametrize("pattern", [r"(a+)+$", r"(a|aa)+$", r"(?:.*,){10}x", r"(\w*)*\d", r".*.*.*.*.*.*x", r"(?:a?){30}a{30}"])
def test_pattern_that_ruins_a_backtracking_engine_is_answered_at_once(pattern: str) -> None:
    matches = compile_pattern(pattern)
    began = time.process_time()
    for value in ("a" * VALUE_CHARS_MAX + "!", "a" * (VALUE_CHARS_MAX - 1) + "!", "a," * (VALUE_CHARS_MAX // 2)):
        assert not matches(value)
    assert time.process_time() - began < 5  # a backtracking engine: the age of the universe


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("x" * (PATTERN_CHARS_MAX + 1), "more than 1000 characters"),
        ("(?=a)a", "look-around"),
        (r"(a)\1", "backreferences"),
        ("a)|(b", "unopened group"),
        ("(", "unclosed group"),
        ("(?x)a # (", "flag x"),
        ("(?i-sx:a)", "flag x"),
        ("[]a]", "begins with"),
        ("[a[b]]", "class inside a class"),
        ("(?:a{0,300}){0,300}", "too costly"),
        ("a{1001}", "too costly"),
        ("((a{10}){11}){10}", "too costly"),
        (r"(?:\p{L}{10}){11}", "too costly"),
        (r"[\w]{101}", "too costly"),
        ("[^a]{101}", "too costly"),
        ("[ä]{101}", "too costly"),
        ("a{1001,}", "too costly"),
        (r"[\]a]{2000}", "too costly"),
        (r"(?:\(a{50}){50}", "too costly"),
        ("a" + "{9}" * 20, "too costly"),
    ],
)
def test_pattern_that_cannot_be_or_costs_too_much_is_refused(pattern: str, says: str) -> None:
    with pytest.raises(PatternError, match=re.escape(says)):
        compile_pattern(pattern)


def test_value_of_the_bound_is_matched_and_a_longer_one_is_not() -> None:
    matches = compile_pattern("a*")
    assert matches("a" * VALUE_CHARS_MAX)
    assert not matches("a" * (VALUE_CHARS_MAX + 1))


repeats = st.recursive(
    st.sampled_from(["a", r"\d", "[bc]", ".", r"\x{41}"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.integers(0, 9)).map(lambda made: f"(?:{made[0]}){{{made[1]}}}"),
        st.tuples(inner, inner).map(lambda made: f"(?:{made[0]}|{made[1]})"),
        st.tuples(inner, inner).map("".join),
    ),
    max_leaves=6,
)


def count(pattern: str) -> int:
    """Count the atoms of a pattern by writing the repeats out, innermost first."""
    pattern = re.sub(r"\\x\{41\}|\\d|\[bc\]|[a.]", "A", pattern)
    while found := re.search(r"\(\?:([A|]*)\)(?:\{(\d+)\})?", pattern):
        pattern = pattern[: found.start()] + found[1].replace("|", "") * int(found[2] or 1) + pattern[found.end() :]
    return len(pattern.replace("|", ""))


@given(repeats)
def test_weight_is_never_less_than_the_atoms_with_all_repeats_written_out(pattern: str) -> None:
    assert weigh(pattern) >= count(pattern)


def test_heaviest_pattern_over_the_longest_value_stays_within_its_bound() -> None:
    matches = compile_pattern("(?:a{0,30}){0,30}[bc]")
    assert weigh("(?:a{0,30}){0,30}[bc]") > 0.9 * PATTERN_WEIGHT_MAX
    began = time.process_time()
    assert not matches("a" * 880 + "cb")  # nearly: neither its length nor its end tells
    assert time.process_time() - began < 2  # some 0.01 s
