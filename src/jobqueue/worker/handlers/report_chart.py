"""Draw a report's chart: a bar for each stretch of time, jobs stacked by how they stand. Drawn large and made smaller, for smooth edges."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from jobqueue.worker.handlers.report_figures import GROUPS, Figures

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

WIDTH: Final = 1000
HEIGHT: Final = 360
SCALE: Final = 2
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 44, 44
COLOURS: Final = {"succeeded": "#2f9e64", "lost": "#d64545", "stopped": "#8a94a3", "open": "#4c7fd6"}
LABELS: Final = {"succeeded": "succeeded", "lost": "dead letter", "stopped": "cancelled, expired", "open": "not ended"}
INK: Final = "#1c2733"
PALE: Final = "#5b6775"
LINE: Final = "#e3e7ec"
TICKS: Final = 4
TIMES_SHOWN_MAX: Final = 8


def draw(figures: Figures, title: str) -> bytes:
    """Make the PNG."""
    from PIL import Image, ImageDraw  # part of the extra `handlers`

    picture = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), "white")
    pen = ImageDraw.Draw(picture)
    _text(pen, (LEFT, 12), title, INK, 15)
    _legend(pen)
    top = _nice_top(max((bar.total() for bar in figures.bars), default=0))
    _grid(pen, top)
    _bars(pen, figures, top)
    _times(pen, figures)
    buffer = io.BytesIO()
    picture.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _nice_top(highest: int) -> int:
    """Round up to a number the grid divides evenly: 4, 8, 20, 40, 80, 200 ..."""
    top = TICKS
    factors = (2.0, 2.5, 2.0)
    step = 0
    while top < highest:
        top = int(top * factors[step % len(factors)])
        step += 1
    return top


def _y(count: float, top: int) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * count / top


def _grid(pen: ImageDraw, top: int) -> None:
    for tick in range(TICKS + 1):
        count = top * tick // TICKS
        y = _y(count, top)
        _box(pen, LEFT, y - 0.5, WIDTH - RIGHT, y + 0.5, PALE if tick == 0 else LINE)
        _text(pen, (LEFT - 8, y), f"{count:,}", PALE, 11, anchor="rm")


def _bars(pen: ImageDraw, figures: Figures, top: int) -> None:
    step = (WIDTH - LEFT - RIGHT) / len(figures.bars)
    gap = min(4.0, step * 0.2)
    for number, bar in enumerate(figures.bars):
        x = LEFT + step * number
        count = 0
        for group in GROUPS:
            if bar[group]:
                _box(pen, x + gap / 2, _y(count + bar[group], top), x + step - gap / 2, _y(count, top), COLOURS[group])
                count += bar[group]


def _times(pen: ImageDraw, figures: Figures) -> None:
    step = (WIDTH - LEFT - RIGHT) / len(figures.bars)
    every = -(-len(figures.bars) // TIMES_SHOWN_MAX)
    form = "%Y-%m-%d" if figures.width_s >= 86_400 else "%m-%d %H:%M"
    for number in range(0, len(figures.bars), every):
        time = figures.bar_start(number).strftime(form)
        half = _width(pen, time, 11) / 2
        x = min(LEFT + step * (number + 0.5), WIDTH - RIGHT - half)
        _text(pen, (x, HEIGHT - BOTTOM + 8), time, PALE, 11, anchor="ma")
    _text(pen, (WIDTH - RIGHT, HEIGHT - 6), "UTC, by time of submit", PALE, 10, anchor="rs")


def _legend(pen: ImageDraw) -> None:
    x = WIDTH - RIGHT
    for group in reversed(GROUPS):
        x -= int(_width(pen, LABELS[group], 12)) + 8
        _text(pen, (x, 20), LABELS[group], INK, 12, anchor="lm")
        x -= 16
        _box(pen, x, 15, x + 10, 25, COLOURS[group])
        x -= 12


def _box(pen: ImageDraw, left: float, top: float, right: float, bottom: float, colour: str) -> None:
    pen.rectangle((left * SCALE, top * SCALE, max(left * SCALE, right * SCALE - 1), max(top * SCALE, bottom * SCALE - 1)), fill=colour)


def _text(pen: ImageDraw, at: tuple[float, float], text: str, colour: str, size: int, *, anchor: str = "la") -> None:
    from PIL import ImageFont

    pen.text((at[0] * SCALE, at[1] * SCALE), text, colour, ImageFont.load_default(size * SCALE), anchor=anchor)


def _width(pen: ImageDraw, text: str, size: int) -> float:
    from PIL import ImageFont

    return pen.textlength(text, ImageFont.load_default(size * SCALE)) / SCALE
