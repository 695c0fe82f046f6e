"""Line charts as inline SVG. Colours are classes of page.css.

No library: one kind of chart is less code than the use of one would be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from msgspec import Struct

LEFT, RIGHT, TOP, BOTTOM = 48, 22, 26, 34


class Scale(Struct, frozen=True):
    """Converts values to pixels. ``ticks``: value and label."""

    place: Callable[[float], float]
    ticks: list[tuple[float, str]]


class Line(Struct, frozen=True):
    """``kind``: CSS class. ``points``: x, y, and the tooltip of the dot."""

    label: str
    kind: str
    points: list[tuple[float, float, str]]
    has_dots: bool = True


def linear(
    least: float, most: float, begin: float, end: float, label: Callable[[float], str]
) -> Scale:
    """Ticks at 1, 2 or 5 times a power of ten, about five of them."""
    span = (most - least) or 1.0
    rough = span / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= rough * 0.999)
    first = math.ceil(least / step)
    values = [step * each for each in range(first, math.floor(most / step + 1e-9) + 1)]
    return Scale(
        lambda value: begin + (value - least) / span * (end - begin),
        [(value, label(value)) for value in values],
    )


def logarithmic(least: float, most: float, begin: float, end: float) -> Scale:
    """Whole decades around the values; ticks at each, and at 2 and 5 when they are few."""
    low, high = math.floor(math.log10(least)), math.ceil(math.log10(most))
    high = max(high, low + 1)
    digits = (1, 2, 5) if high - low <= 2 else (1,)
    ticks = [
        digit * 10.0**power
        for power in range(low, high + 1)
        for digit in digits
        if power < high or digit == 1
    ]
    return Scale(
        lambda value: begin + (math.log10(max(value, 1e-9)) - low) / (high - low) * (end - begin),
        [(value, f"{value:g}") for value in ticks],
    )


def line_chart(
    lines: Sequence[Line],
    x: Callable[[float, float], Scale],
    y: Callable[[float, float], Scale],
    x_title: str,
    y_title: str,
    width: int = 340,
    height: int = 220,
    marks: Sequence[tuple[float, str]] = (),
) -> str:
    """``x``, ``y``: return the scale between two pixels. ``marks``: vertical lines with a label."""
    right, bottom = width - RIGHT, height - BOTTOM
    across, upward = x(LEFT, right), y(bottom, TOP)
    parts = [_frame(across, upward, right, bottom)]
    for at, word in marks:
        place = across.place(at)
        parts.append(
            f'<line class="mark" x1="{place:.1f}" x2="{place:.1f}" y1="{TOP}" y2="{bottom}"/>'
            f'<text class="tick" x="{place - 4:.1f}" y="{TOP + 9}" text-anchor="end">'
            f"{escape(word)}</text>"
        )
    for line in lines:
        spots = [(across.place(a), upward.place(b), hint) for a, b, hint in line.points]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b, _ in spots)
        parts.append(f'<polyline class="line {line.kind}" points="{path}"/>')
        parts += [
            f'<circle class="dot {line.kind}" cx="{a:.1f}" cy="{b:.1f}" r="3"/>'
            f'<circle class="hit" cx="{a:.1f}" cy="{b:.1f}" r="10">'
            f"<title>{escape(f'{line.label}: {hint}')}</title></circle>"
            for a, b, hint in spots
            if line.has_dots
        ]
    middle = (LEFT + right) / 2
    parts.append(
        f'<text class="axis" x="{middle:.0f}" y="{height - 4}" text-anchor="middle">'
        f"{escape(x_title)}</text>"
        f'<text class="axis" x="{LEFT}" y="12">{escape(y_title)}</text>'
    )
    return _svg(width, height, parts, f"{y_title} by {x_title}")


def _frame(across: Scale, upward: Scale, right: float, bottom: float) -> str:
    horizontal = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{upward.place(v):.1f}" '
        f'y2="{upward.place(v):.1f}"/><text class="tick" x="{LEFT - 6}" '
        f'y="{upward.place(v) + 3.5:.1f}" text-anchor="end">{label}</text>'
        for v, label in upward.ticks
    )
    vertical = "".join(
        f'<text class="tick" x="{across.place(v):.1f}" y="{bottom + 14}" text-anchor="middle">'
        f"{label}</text>"
        for v, label in across.ticks
    )
    base = f'<line class="base" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>'
    return horizontal + vertical + base


def _svg(width: int, height: int, parts: Sequence[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )
