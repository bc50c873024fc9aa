"""Dots with whiskers, row by row: each is a strip of SVG in percent, so a table of them fits any width."""

import math

from einthoven.report.folder import Figure
from einthoven.report.svg import padded, tag, text, ticks, told

MIDDLE = 11.0  # px: half the height of a strip


def axis_for(figures: list[Figure], *, bounded: bool) -> tuple[float, float]:
    """Choose one axis for all rows: from 0.5 or below to 1 for an AUROC, from 0 for an error."""
    known = [end for figure in figures for end in figure if math.isfinite(end)]
    if bounded:
        return math.floor(min([0.5, *known]) * 10 + 1e-9) / 10, 1.0
    return 0.0, padded([0.0, *known])[1]


def _percent(value: float, axis: tuple[float, float]) -> str:
    low, high = axis
    return (
        f"{2 + 96 * (min(max(value, low), high) - low) / (high - low):.2f}%"  # air for the dots at both ends
    )


def whisker(
    figure: Figure, axis: tuple[float, float], *, reference: float = math.nan, own: bool = False
) -> str:
    """Draw one figure and its interval; `own` marks the row that the page is about."""
    parts = []
    if math.isfinite(reference):
        at = _percent(reference, axis)
        parts.append(tag("line", class_="reference", x1=at, x2=at, y1=0.0, y2=2 * MIDDLE))
    if math.isfinite(figure.low) and math.isfinite(figure.high):
        ends = {"x1": _percent(figure.low, axis), "x2": _percent(figure.high, axis)}
        parts.append(tag("line", class_="reach", y1=MIDDLE, y2=MIDDLE, **ends))
    if figure.known:
        parts.append(tag("circle", class_="dot", cx=_percent(figure.value, axis), cy=MIDDLE, r=5.0))
    kind = "whisker own" if own else "whisker"
    return tag("svg", *(parts or [""]), class_=kind, height=2 * MIDDLE, aria_hidden="true")


def axis_strip(axis: tuple[float, float]) -> str:
    """Draw the numbers under a column of whiskers."""
    marks = []
    for value in ticks(*axis):
        at = _percent(value, axis)
        marks.append(tag("line", class_="tick", x1=at, x2=at, y1=0.0, y2=4.0))
        marks.append(text(at, 15, told(value), text_anchor="middle"))
    return tag("svg", *marks, class_="whisker axis", height=18, aria_hidden="true")


def score_bar(score: float, threshold: float) -> str:
    """Draw a probability as a bar, with a stroke where the threshold is."""
    parts = [tag("rect", class_="whole", width="100%", height=10, rx=2)]
    parts.append(tag("rect", class_="bar", width=f"{100 * min(max(score, 0), 1):.1f}%", height=10, rx=2))
    if math.isfinite(threshold):
        at = f"{100 * threshold:.1f}%"
        parts.append(tag("line", class_="threshold", x1=at, x2=at, y1=-2.0, y2=12.0))
    return tag("svg", *parts, class_="score", height=10, aria_hidden="true")
