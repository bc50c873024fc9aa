"""The charts of the page, each a small SVG whose colours come from the page's style sheet."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from einthoven.report.curves import Bins, Curve
from einthoven.report.svg import Scale, escape, padded, polyline, tag, text, ticks, told

Range = tuple[float, float]
MOST_POINTS = 3000  # of a scatter: more is a blot, and heavy
EDGE = {"right": 12.0, "top": 10.0, "bottom": 34.0}


@dataclass
class Panel:
    """One pair of axes; what is drawn into it comes out as an SVG."""

    width: float
    height: float
    x_range: Range
    y_range: Range
    x_name: str
    y_name: str
    parts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.y_ticks = ticks(*self.y_range, about=max(2, int(self.height // 40)))
        left = (24 if self.y_name else 10) + 6 * max(len(f"{value:g}") for value in self.y_ticks)
        self.x = Scale(*self.x_range, left, self.width - EDGE["right"])
        self.y = Scale(*self.y_range, self.height - EDGE["bottom"], EDGE["top"])

    def line(self, x: Sequence[float], y: Sequence[float], kind: str) -> None:
        """Draw a line through points; NaN breaks it."""
        points = np.rint(np.stack([self.x.many(x), self.y.many(y)], axis=1) * 2) / 2
        moved = (points[1:] != points[:-1]).any(axis=1)  # thousands of thresholds share a pixel
        points = np.concatenate([points[:1], points[1:][moved]])
        self.parts.append(tag("path", class_=f"line {kind}", d=polyline(points, 1) or "M0 0"))

    def dot(self, x: float, y: float, kind: str, *, radius: float = 3.5, title: str = "") -> None:
        """Draw a dot, with words for the mouse."""
        told = [tag("title", escape(title))] if title else []
        self.parts.append(tag("circle", *told, class_=f"dot {kind}", cx=self.x(x), cy=self.y(y), r=radius))

    def words(self, x: float, y: float, words: str, kind: str = "", *, anchor: str = "end") -> None:
        """Write a few words at a point of the data."""
        self.parts.append(
            text(self.x(x), self.y(y), words, class_=f"words {kind}".strip(), text_anchor=anchor)
        )

    def svg(self, label: str) -> str:
        """Put axes under what was drawn; `label` says in words what is seen."""
        size = {"viewBox": f"0 0 {self.width:g} {self.height:g}"}
        return tag("svg", *self._axes(), *self.parts, class_="chart", role="img", aria_label=label, **size)

    def _axes(self) -> list[str]:
        left, right, floor, top = self.x.start, self.x.stop, self.y.start, self.y.stop
        about = max(2, int(self.width // 70))
        lines, words = [], []
        for value in self.y_ticks:
            lines.append(f"M{left:g} {self.y(value):.1f}H{right:g}")
            words.append(text(left - 5, self.y(value) + 3.5, told(value), text_anchor="end"))
        for value in ticks(*self.x_range, about=about):
            lines.append(f"M{self.x(value):.1f} {floor:g}v4")
            words.append(text(self.x(value), floor + 15, told(value), text_anchor="middle"))
        middle = (left + right) / 2
        return [
            tag("path", class_="rule", d="".join(lines) or "M0 0"),
            tag("path", class_="floor", d=f"M{left:g} {floor:g}H{right:g}"),
            *words,
            text(middle, self.height - 4, self.x_name, class_="name", text_anchor="middle"),
            text(
                -(floor + top) / 2,
                10,
                self.y_name,
                class_="name",
                text_anchor="middle",
                transform="rotate(-90)",
            ),
        ]


def threshold_curve(curve: Curve, *, kind: str, chance: float, chosen: Range, label: str) -> str:
    """Draw a ROC or precision-recall curve of one class; `chosen` is the point at its threshold."""
    names = {"roc": ("1 − specificity", "sensitivity"), "pr": ("recall", "precision")}[kind]
    panel = Panel(190, 185, (0, 1), (0, 1), *names)
    panel.line((0, 1), (0, 1) if kind == "roc" else (chance, chance), "reference")
    x, y = (curve.x, curve.y) if kind == "roc" else _stairs(curve)
    panel.line(x.tolist(), y.tolist(), "one")
    if all(map(math.isfinite, chosen)):
        panel.dot(
            *chosen, "one", title=f"at the threshold: {names[0]} {chosen[0]:.2f}, {names[1]} {chosen[1]:.2f}"
        )
    return panel.svg(label)


def _stairs(curve: Curve) -> Curve:
    """Hold precision until the next recall is reached: the area below is the average precision."""
    x = np.repeat(np.append(0.0, curve.x), 2)[1:-1]
    return Curve(x, np.repeat(curve.y, 2))


def reliability_chart(before: Bins, after: Bins | None, *, size: float, label: str) -> str:
    """Draw observed against predicted, before (hollow, dashed) and after temperature scaling."""
    panel = Panel(size, size, (0, 1), (0, 1), "predicted probability", "observed share")
    panel.line((0, 1), (0, 1), "reference")
    for bins, kind in ((before, "two"), (after, "one")):
        if bins is None:
            continue
        for x, low, high in zip(bins.predicted, bins.low, bins.high, strict=True):
            panel.line((x, x), (low, high), f"{kind} thin")
        panel.line(bins.predicted.tolist(), bins.observed.tolist(), kind)
        for x, y, records in zip(bins.predicted, bins.observed, bins.records, strict=True):
            few = " few" if records < 10 else ""
            panel.dot(x, y, kind + few, title=f"{records} predictions near {x:.2f}: {y:.2f} were so")
    return panel.svg(label)


def learning_chart(
    x: Sequence[float], lines: Mapping[str, Sequence[float]], *, names: tuple[str, str], label: str
) -> str:
    """Draw up to three columns of the log, each with its name at its end."""
    every = [value for line in lines.values() for value in line]
    across = padded(x, share=0.02) if len(x) > 1 else (x[0] - 1, x[0] + 1)
    panel = Panel(350, 220, across, padded(every, share=0.12), *names)
    ends: list[float] = []
    for (words, line), kind in zip(lines.items(), ("one", "two", "three"), strict=False):
        seen = [(a, b) for a, b in zip(x, line, strict=True) if math.isfinite(b)]
        panel.line([a for a, _ in seen], [b for _, b in seen], kind)
        panel.dot(*seen[-1], kind, radius=3)
        if len(lines) > 1:
            y = panel.y(seen[-1][1]) - 7
            while any(abs(y - other) < 12 for other in ends):
                y -= 4
            ends.append(y)
            panel.parts.append(text(panel.x.stop, y, words, class_=f"words {kind}", text_anchor="end"))
    return panel.svg(label)


def agreement_chart(
    x: Float[np.ndarray, " record"],
    y: Float[np.ndarray, " record"],
    *,
    names: tuple[str, str],
    levels: dict[str, float] | None = None,
    label: str = "",
) -> str:
    """Draw one dot a record, over the line of identity or over named levels (Bland-Altman)."""
    levels = levels or {}
    both = None if levels else padded([*x, *y])
    panel = Panel(420, 360, both or padded(x), both or padded([*y, *levels.values(), 0.0]), *names)
    if both:
        panel.line(both, both, "reference")
    shown = np.random.default_rng(0).permutation(len(x))[:MOST_POINTS]
    dots = zip(panel.x.many(x[shown]), panel.y.many(y[shown]), strict=True)
    panel.parts.append(
        tag("path", class_="cloud", d="".join(f"M{a:.1f} {b:.1f}h0" for a, b in dots) or "M0 0")
    )
    for number, (words, level) in enumerate(levels.items()):
        panel.line(panel.x_range, (level, level), "two" if number else "one")
        panel.parts.append(text(panel.x.stop, panel.y(level) - 4, words, class_="words", text_anchor="end"))
    return panel.svg(label)
