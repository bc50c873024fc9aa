"""The few lines of SVG that all drawings share: tags, numbers, paths, scales and ticks."""

import html
import math
import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

CONTROL = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]"
)  # XML has no way to say these


def escape(text: object) -> str:
    """Make any text safe between tags and in attributes, in XML as in HTML.

    >>> escape('<b>&"')
    '&lt;b&gt;&amp;&quot;'
    """
    return html.escape(CONTROL.sub("", str(text)))


def short(value: float, places: int = 2) -> str:
    """Write a number in as few characters as SVG allows.

    >>> short(0.25), short(-0.5), short(3.0), short(-0.001)
    ('.25', '-.5', '3', '0')
    """
    text = f"{value:.{places}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    text = text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text
    return "0" if text in ("", "-0", "-") else text


def tag(name: str, *content: str, **attributes: object) -> str:
    """Write one element; `class_` is class, `stroke_width` is stroke-width, None is left out.

    Attributes are escaped here; content is markup already, so text in it goes through `escape`.
    """
    said = ""
    for key, value in attributes.items():
        if value is not None:
            plain = short(value) if isinstance(value, float) else value
            said += f' {key.rstrip("_").replace("_", "-")}="{escape(plain)}"'
    return f"<{name}{said}>{''.join(content)}</{name}>" if content else f"<{name}{said}/>"


def text(x: float | str, y: float, words: object, **attributes: object) -> str:
    """Write words at a point; `x` may be a percentage."""
    return tag("text", escape(words), x=x, y=float(y), **attributes)


def polyline(points: Float[np.ndarray, "point 2"], places: int = 2) -> str:
    """Turn points into the data of a path; NaN breaks the line, straight stretches become one step.

    Positions, not steps, are rounded, so that errors do not add up along the line.
    """
    grid = 10**places
    broken = np.flatnonzero(~np.isfinite(points).all(axis=1))
    runs = np.split(points, broken)
    return "".join(_stroke(run[np.isfinite(run).all(axis=1)], grid, places) for run in runs)


def _stroke(points: Float[np.ndarray, "point 2"], grid: int, places: int) -> str:
    if not len(points):
        return ""
    at = np.rint(points * grid).astype(int)
    steps = np.diff(at, axis=0)
    turns = np.flatnonzero((steps[1:] != steps[:-1]).any(axis=1)) + 1
    corners = at[np.concatenate([[0], turns, [len(at) - 1]])] if len(at) > 1 else at
    words = [f"M{short(corners[0, 0] / grid, places)} {short(corners[0, 1] / grid, places)}"]
    if len(corners) == 1:
        return words[0] + "h0"  # a round cap makes a dot of it
    for number, (dx, dy) in enumerate(np.diff(corners, axis=0).tolist()):
        across, down = short(dx / grid, places), short(dy / grid, places)
        words.append(f"{' l'[not number]}{across}{'' if down[0] == '-' else ' '}{down}")
    return "".join(words)


class Scale(NamedTuple):
    """A straight map from data (low, high) to the drawing (start, stop)."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        """Return the place of a value."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)

    def many(self, values: Iterable[float]) -> Float[np.ndarray, " value"]:
        """Return the places of many values."""
        share = (np.asarray(values, dtype=np.float64) - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)


def ticks(low: float, high: float, *, about: int = 5) -> list[float]:
    """Choose round numbers (1, 2 or 5 times a power of ten) within a range.

    >>> ticks(0.0, 1.0), ticks(0.62, 0.97)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.7, 0.8, 0.9])
    """
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def told(value: float) -> str:
    """Write the number of a tick, with a true minus."""
    return f"{value:g}".replace("-", "−")


def padded(values: Iterable[float], *, share: float = 0.06) -> tuple[float, float]:
    """Return a range around all finite values, with air on both sides, never empty."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    air = (high - low) * share or abs(high) * 0.1 or 1.0
    return low - air, high + air
