"""How figures and tables are written on the page."""

import math
import unicodedata
from collections.abc import Sequence
from typing import Any

from einthoven.data.store import Store


def figure(value: float, places: int = 3) -> str:
    """Write a share without the zero before its point.

    >>> figure(0.9264), figure(1.0), figure(float("nan"))
    ('.926', '1.000', 'undefined')
    """
    if math.isnan(value):
        return "undefined"
    text = f"{value:.{places}f}"
    return text.replace("0.", ".", 1) if abs(float(text)) < 1 else text


def gap(value: float) -> str:
    """Write a difference with its sign.

    >>> gap(0.0123), gap(-0.0004), gap(-0.2)
    ('+.012', '.000', '-.200')
    """
    text = figure(value)
    if math.isnan(value):
        return text
    return ("+" if value > 0 else "") * (float(f"{value:.3f}") != 0) + text.replace("-.000", ".000")


def interval_of(found: Any) -> str:
    """Write the interval of a difference."""
    return "" if math.isnan(found.low) else f"[{gap(found.low)}, {gap(found.high)}]"


def p_value(p: float) -> str:
    """Write a p-value.

    >>> p_value(0.031), p_value(0.002), p_value(0.0001)
    ('p .03', 'p .002', 'p <.001')
    """
    if math.isnan(p):
        return ""
    if p < 0.001:
        return "p <.001"
    return f"p {figure(p, 2 if p >= 0.01 else 3)}"


def count(number: int, thing: str) -> str:
    """Count things.

    >>> count(1, "record"), count(2000, "record")
    ('1 record', '2,000 records')
    """
    return f"{number:,} {thing}{'s' * (number != 1)}"


def sized(store: Store) -> str:
    """Return a store's title with its number of records, as part of a sentence; many titles say it."""
    title, records = store.title.rstrip("."), count(len(store), "record")
    return title if records in title else f"{title}, {records}"


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Lay out a Markdown table that also reads well as text; all but the first columns stand right.

    >>> print(aligned(["network", "all"], [["lstm", ".91"]]))
    | network | all |
    |:--------|----:|
    | lstm    | .91 |
    <BLANKLINE>
    """
    plain = [[str(cell).replace("|", "\\|") for cell in row] for row in [head, *rows]]
    widths = [max(map(width, column)) for column in zip(*plain, strict=True)]

    def line(row: Sequence[str]) -> str:
        cells = []
        for place, (cell, wide) in enumerate(zip(row, widths, strict=True)):
            air = " " * (wide - width(cell))
            cells.append(cell + air if place < left else air + cell)
        return f"| {' | '.join(cells)} |"

    rule = [":" + "-" * (w + 1) if i < left else "-" * (w + 1) + ":" for i, w in enumerate(widths)]
    return "\n".join([line(plain[0]), f"|{'|'.join(rule)}|", *map(line, plain[1:])]) + "\n"


def width(text: str) -> int:
    """Count the columns that a text takes; accents that stand on a letter take none."""
    return sum(not unicodedata.combining(letter) for letter in text)
