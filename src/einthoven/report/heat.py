"""A table of counts as a heat map, drawn in few elements: 71 labels make 5,041 cells."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from einthoven.report.svg import escape, short, tag, text

SHADES = 12


def heat_map(counts: Int[np.ndarray, "row column"], names: Sequence[str], *, own: bool, label: str) -> str:
    """Draw counts, each cell coloured by its share of its row's diagonal or, with `own`, of its row.

    Without `own` the diagonal (the label itself) is grey: it would outshine everything else.
    Cells that count nothing stay empty.
    """
    cell = 46 if len(names) <= 10 else 30 if len(names) <= 24 else 22
    edge = round(14 + 7.2 * max(map(len, names), default=1))
    size = edge + cell * len(names) + 2
    whole = np.maximum(counts.sum(axis=1) if own else np.diag(counts), 1)
    shade = np.ceil(SHADES * counts / whole[:, None]).astype(int).clip(0, SHADES)
    if not own:
        np.fill_diagonal(shade, 0)
    squares = [_squares(shade == level, cell, _shade(level)) for level in range(1, SHADES + 1)]
    itself = "" if own else _squares(np.diag(np.diag(counts) > 0), cell, {"class_": "self"})
    dark = shade > SHADES // 2
    numbers = _numbers(counts, ~dark, cell, "count") + _numbers(counts, dark, cell, "count strong")
    return tag(
        "svg",
        *_names(names, edge, cell),
        tag(
            "g", _outline(cell * len(names)), itself, *squares, numbers, transform=f"translate({edge} {edge})"
        ),
        class_="heat",
        role="img",
        aria_label=label,
        viewBox=f"0 0 {size} {size}",
        width=size,
    )


def _shade(level: int) -> dict[str, object]:
    return {"class_": "cell", "fill_opacity": 0.06 + 0.94 * level / SHADES}


def _outline(size: int) -> str:
    return tag("rect", class_="outline", width=size, height=size)


def _names(names: Sequence[str], edge: int, cell: int) -> list[str]:
    """Write the labels down the left and, turned, along the top."""
    said = []
    for number, name in enumerate(names):
        middle = edge + number * cell + cell / 2 + 4
        said.append(text(edge - 6, middle, name, text_anchor="end"))
        said.append(tag("text", escape(name), transform=f"translate({short(middle)} {edge - 6}) rotate(-90)"))
    return said


def _squares(which: np.ndarray, cell: int, look: dict[str, object]) -> str:
    """Draw all cells of one shade as one path."""
    side = cell - 1
    places = np.argwhere(which) * cell
    d = "".join(f"M{x} {y}h{side}v{side}h-{side}z" for y, x in places.tolist())
    return tag("path", d=d, **look) if d else ""


def _numbers(counts: Int[np.ndarray, "row column"], which: np.ndarray, cell: int, kind: str) -> str:
    """Write the counts of the chosen cells that are not zero."""
    said = [
        text(column * cell + cell // 2, row * cell + cell / 2 + 3.5, counts[row, column])
        for row, column in np.argwhere(which & (counts > 0)).tolist()
    ]
    look = {"class_": f"{kind} small" if cell < 30 else kind, "text_anchor": "middle"}
    return tag("g", *said, **look) if said else ""
