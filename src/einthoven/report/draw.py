"""Draw an ECG as a cardiologist reads it: 25 mm/s, 10 mm/mV, three rows of four leads, a rhythm strip.

One unit of the drawing is one millimetre of paper: printed at 100 %, a ruler may be laid on it.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from einthoven.data.files import new_file
from einthoven.ecg import LEADS
from einthoven.report.svg import escape, polyline, tag

SPEED = 25.0  # mm per second
GAIN = 10.0  # mm per mV
ROWS = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
RHYTHM = "II"
COLUMN = 2.5  # seconds of each lead
STRIP = 10.0  # seconds of the rhythm strip
WIDTH = 270.0  # mm: fits A4 across
ORIGIN = 15.0  # mm from the left edge to second 0; the calibration pulse stands before it
HEAD, FOOT = 10.0, 7.5  # mm for the words above and below
PAPER, THIN, THICK, INK = "#fffaf9", "#f7d3d1", "#eaa3a0", "#151515"
OVER = "#0057d9"  # blue: red is lost on red paper, and looks black to one man in a hundred


@dataclass(frozen=True)
class Trace:
    """One lead's stretch on the paper; `points` and `(x, y)`, where 0 mV begins, in mm."""

    lead: str
    x: float
    y: float
    seconds: float  # time of the first sample
    points: Float[np.ndarray, "point 2"]
    over: Float[np.ndarray, "over 2"]  # the line of a second ECG
    remark: str = ""

    @property
    def name_y(self) -> float:
        """Where the lead's name stands clear of its trace."""
        both = np.concatenate([self.points, self.over])
        near = both[both[:, 0] < self.x + 9, 1]
        clear = np.min(near[np.isfinite(near)] - 1.2, initial=self.y - 7.5)
        return float(max(clear, self.y - 16, HEAD))


@dataclass(frozen=True)
class Sheet:
    """Everything on one page of ECG paper, in mm."""

    height: float
    traces: list[Trace]
    baselines: list[float]  # y of each row
    title: str
    stamp: str
    foot: str


def sheet(
    signal: Float[np.ndarray, "lead time"],
    hertz: float,
    *,
    title: str = "",
    stamp: str = "",
    note: str = "no filter",
    leads: Sequence[str] = LEADS,
    over: Float[np.ndarray, "_ _"] | None = None,
    lacking: str = "not recorded",
) -> Sheet:
    """Lay an ECG out on paper.

    From 9 s on, the four columns follow each other in time, as a machine prints them. A shorter
    ECG shows the same first 2.5 s in every column. Anything after 10 s is left out; the foot says so.

    Args:
        signal: mV; NaN is a gap, a lead of NaN only is not recorded.
        hertz: samples per second.
        title: words above, at the left.
        stamp: words above, at the right, such as MADE-UP ECG.
        note: what was filtered, for the foot.
        leads: the name of each row of `signal`; those that are missing are said to be `lacking`.
        over: a second ECG in mV, drawn thinly in colour on the same baselines; NaN draws nothing.
        lacking: what to say of a lead that `leads` does not name.
    """
    if len(leads) != len(signal):
        raise ValueError(f"An ECG of {len(signal)} leads cannot be drawn with {len(leads)} names.")
    if over is not None and over.shape != signal.shape:
        raise ValueError(f"An ECG of shape {over.shape} cannot be drawn over one of {signal.shape}.")
    known = dict(zip(leads, signal.astype(np.float64), strict=True))
    second = {} if over is None else dict(zip(leads, over.astype(np.float64), strict=True))
    seconds = signal.shape[1] / hertz
    in_turn = seconds >= 9.0
    rhythm = RHYTHM if RHYTHM in known else leads[0]
    plan = [
        [
            (name, column * COLUMN * SPEED, column * COLUMN * in_turn, COLUMN)
            for column, name in enumerate(row)
        ]
        for row in ROWS
    ] + [[(rhythm, 0.0, 0.0, STRIP)]]
    cut = [
        [
            (name, x, start, *(_cut(of.get(name), hertz, start, length) for of in (known, second)))
            for name, x, start, length in row
        ]
        for row in plan
    ]
    baselines, bottom = _baselines([[points for _, _, _, *both in row for points in both] for row in cut])
    traces = [
        _place(name, ORIGIN + x, y, start, line, above, "not recorded" if name in known else lacking)
        for row, y in zip(cut, baselines, strict=True)
        for name, x, start, line, above in row
    ]
    foot = ["25 mm/s", "10 mm/mV", f"{hertz:g} Hz", *([note] if note else []), _extent(seconds, in_turn)]
    edge = bottom + FOOT
    if any(((y < 0) | (y > edge)).any() for trace in traces for y in (trace.points[:, 1], trace.over[:, 1])):
        foot.append("cut at the edge of the paper")
    return Sheet(edge, traces, baselines, title, stamp, "  ·  ".join(foot))


def _extent(seconds: float, in_turn: bool) -> str:
    if seconds > STRIP + 0.01:
        return f"first 10 s of {seconds:.1f} s"
    return f"{seconds:.1f} s" if in_turn else f"only {seconds:.1f} s: every lead from 0 s"


def _cut(
    lead: Float[np.ndarray, " time"] | None, hertz: float, start: float, length: float
) -> Float[np.ndarray, "point 2"]:
    """Return the samples of a stretch as (mm from its start, mm above 0 mV)."""
    if lead is None:
        return np.empty((0, 2))
    first = round(start * hertz)
    stretch = lead[first : round((start + length) * hertz)]
    across = np.arange(len(stretch)) / hertz * SPEED
    return np.stack([across, stretch * GAIN], axis=1)


def _baselines(rows: list[list[Float[np.ndarray, "_ 2"]]]) -> tuple[list[float], float]:
    """Put 0 mV of each row on a thick line, as far apart as its traces need; huge ones overlap."""
    heights = [np.concatenate([points[:, 1] for points in row]) for row in rows]
    heights = [height[np.isfinite(height)] for height in heights]
    baselines, y, below = [], HEAD, 0.0
    for number, height in enumerate(heights):
        up = float(np.clip(height.max(initial=0), 10, 17 if number else 25))  # mm; the page must fit A4
        y = math.ceil((y + below + up) / 5) * 5.0
        baselines.append(y)
        below = float(np.clip(-height.min(initial=0), 7, 17 if number < len(rows) - 1 else 25))
    return baselines, y + math.ceil(below / 5) * 5.0


def _place(
    name: str,
    x: float,
    y: float,
    start: float,
    points: Float[np.ndarray, "point 2"],
    second: Float[np.ndarray, "over 2"],
    lacking: str,
) -> Trace:
    values = points[:, 1]
    recorded = values[np.isfinite(values)]
    remark = "" if len(recorded) and np.ptp(recorded) > 0 else "flat" if len(recorded) else lacking
    line, over = (of * [1, -1] + [x, y] for of in (points, second))
    return Trace(name, x, y, start, line, over, remark)


def ecg_svg(signal: Float[np.ndarray, "lead time"], hertz: float, **words: Any) -> str:
    """Draw an ECG (lead, time) in mV as one SVG element that stands alone or inside a page.

    The options are those of `sheet`: title, stamp, note, leads, over, lacking.
    """
    page = sheet(signal, hertz, **words)
    size = {
        "viewBox": f"0 0 {WIDTH:g} {page.height:g}",
        "width": f"{WIDTH:g}mm",
        "height": f"{page.height:g}mm",
    }
    name = "12-lead ECG" + (f", {page.title}" if page.title else "")
    line = {"fill": "none", "stroke": INK, "stroke_width": 0.3, "stroke_linejoin": "round"}
    halo = {"stroke": PAPER, "stroke_width": 1.0, "stroke_linejoin": "round", "paint_order": "stroke"}
    font = {"font_family": "system-ui, Helvetica, Arial, sans-serif", "font_size": 3.2}
    return tag(
        "svg",
        tag("title", escape(name)),
        tag("rect", class_="paper", width=WIDTH, height=page.height, fill=PAPER),
        _grid(page.height),
        tag("g", *_words(page), class_="words", fill=INK, **halo, **font),
        tag("g", *map(_pulse, page.baselines), *map(_trace, page.traces), class_="ink", **line),
        *_over(page.traces),
        xmlns="http://www.w3.org/2000/svg",
        class_="ecg",
        role="img",
        aria_label=name,
        **size,
    )


def _grid(height: float) -> str:
    def lines(step: int) -> str:
        across = "".join(f"M{x} 0v{height:g}" for x in range(0, int(WIDTH) + 1, step) if step == 5 or x % 5)
        return across + "".join(
            f"M0 {y}h{WIDTH:g}" for y in range(0, int(height) + 1, step) if step == 5 or y % 5
        )

    return tag("path", class_="thin", d=lines(1), stroke=THIN, stroke_width=0.12, fill="none") + tag(
        "path", class_="thick", d=lines(5), stroke=THICK, stroke_width=0.2, fill="none"
    )


def _trace(trace: Trace) -> str:
    tick = f"M{trace.x:g} {trace.y - 2:g}v4" if trace.x > ORIGIN else ""  # where the next lead begins
    line = tag(
        "path", class_="trace", data_lead=trace.lead, data_zero=trace.y, d=polyline(trace.points) or "M0 0"
    )
    return line + (tag("path", class_="tick", d=tick) if tick else "")


def _over(traces: Sequence[Trace]) -> list[str]:
    """Draw the second ECG, if there is one."""
    lines = [(trace, polyline(trace.over)) for trace in traces]
    told = [tag("path", class_="second", data_lead=t.lead, data_zero=t.y, d=d) for t, d in lines if d]
    thin = {"fill": "none", "stroke": OVER, "stroke_width": 0.25, "stroke_linejoin": "round"}
    return [tag("g", *told, class_="over", **thin)] if told else []


def _pulse(y: float) -> str:
    """Draw 1 mV for 200 ms."""
    return tag("path", class_="pulse", d=f"M2.5 {y:g}h2.5v{-GAIN:g}h{0.2 * SPEED:g}v{GAIN:g}h2.5")


def _words(page: Sheet) -> list[str]:
    def say(x: float, y: float, words: str, **more: object) -> str:
        return tag("text", escape(words), x=x, y=y, **more)

    names = [
        say(trace.x + 1, trace.name_y, trace.lead, font_weight=600, font_size=3.6, class_="lead-name")
        + (say(trace.x + 11, trace.name_y, trace.remark) if trace.remark else "")
        for trace in page.traces
    ]
    return [
        *names,
        *([say(2.5, 6, page.title, font_size=4)] if page.title else []),
        *(
            [say(WIDTH - 2.5, 6, page.stamp, font_size=4, font_weight=600, text_anchor="end")]
            if page.stamp
            else []
        ),
        say(2.5, page.height - 2.6, page.foot),
    ]


def save(path: Path, signal: Float[np.ndarray, "lead time"], hertz: float, **words: Any) -> Path:
    """Draw an ECG into a file: .svg, or .png (matplotlib, 150 dots per inch)."""
    drawn = {
        ".svg": lambda: ecg_svg(signal, hertz, **words).encode(),
        ".png": lambda: _png(sheet(signal, hertz, **words)),
    }
    if path.suffix not in drawn:
        raise ValueError(f"{path}: an ECG is drawn as .svg or .png, not as {path.suffix or 'nothing'!r}.")
    content = drawn[path.suffix]()
    with new_file(path) as file:
        file.write(content)
    return path


def _png(page: Sheet) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    inch, dot = 25.4, 72 / 25.4  # mm in an inch, points in a mm
    figure = Figure(figsize=(WIDTH / inch, page.height / inch), facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(page.height, 0))
    axes.set_axis_off()
    for step, colour, width in ((1, THIN, 0.12), (5, THICK, 0.2)):
        axes.vlines(range(0, int(WIDTH) + 1, step), 0, page.height, colour, linewidth=width * dot)
        axes.hlines(range(0, int(page.height) + 1, step), 0, WIDTH, colour, linewidth=width * dot)
    for y in page.baselines:
        axes.plot([2.5, 5, 5, 10, 10, 12.5], [y, y, y - GAIN, y - GAIN, y, y], color=INK, linewidth=0.3 * dot)
    for trace in page.traces:
        axes.plot(*trace.points.T, color=INK, linewidth=0.3 * dot)
        axes.plot(*trace.over.T, color=OVER, linewidth=0.25 * dot)
        axes.text(trace.x + 1, trace.name_y, f"{trace.lead} {trace.remark}", fontsize=3.6 * dot, color=INK)
    axes.text(2.5, 6, page.title, fontsize=4 * dot, color=INK)
    axes.text(WIDTH - 2.5, 6, page.stamp, fontsize=4 * dot, color=INK, ha="right")
    axes.text(2.5, page.height - 2.6, page.foot, fontsize=3.2 * dot, color=INK)
    whole = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(whole, dpi=150)
    return whole.getvalue()
