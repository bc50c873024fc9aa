"""The figure of a bench: every network's scores by arm, and beside them the paired gains."""

import unicodedata
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from einthoven.bench.asked import ENSEMBLE, MEAN
from einthoven.bench.spell import sized
from einthoven.bench.table import SPELT, Line, Table
from einthoven.data.files import new_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#57606a", "#0b5cad", "#b04a00", "#0b6b4f", "#8250df", "#a8201a", "#8a5300", "#1b7c83")
INK, QUIET, RULE = "#1b1d21", "#5a606b", "#d9dce2"
STYLE: dict[Any, Any] = {"font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "einthoven"}
STYLE |= {"text.color": INK, "axes.edgecolor": RULE, "axes.labelcolor": QUIET}
STYLE |= {"xtick.color": QUIET, "ytick.color": INK}
# Inches: around all, of the scores and the gains, between these, of a line of words, and above and
# below the rows of a task.
EDGE, SCORES, GAINS, BETWEEN, LINE, ABOVE, BELOW = 0.25, 4.0, 3.1, 0.3, 0.24, 0.45, 0.55
SCORE_WORDS = "test {}, 95 % interval; small: each seed"


class Layout(NamedTuple):
    """Where things stand, in inches."""

    margin: float  # left of the scores: the names of the rows
    width: float
    legend: tuple[tuple[tuple[str, int], ...], ...]  # lines of (arm, its place)
    row: float
    tasks: tuple[tuple[str, float], ...]  # task -> height

    @property
    def head(self) -> float:
        """The height of title, store and legend."""
        return EDGE + LINE * (2.2 + len(self.legend))

    @property
    def height(self) -> float:
        """The height of all."""
        return self.head + sum(height for _, height in self.tasks)


def write_figure(table: Table, path: Path) -> None:
    """Draw `figure.svg`; equal tables give equal bytes."""
    if not table.referees:
        path.unlink(missing_ok=True)  # of runs that no longer count
        return
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    placed = layout(table)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(placed.width, placed.height))
        FigureCanvasSVG(figure)
        draw_head(figure, table, placed)
        top = placed.height - placed.head
        for task, height in placed.tasks:
            draw_task(figure, table, placed, task, top)
            top -= height
        held = BytesIO()
        figure.savefig(held, format="svg", facecolor="white", metadata={"Date": None})
    with new_file(path) as file:
        file.write(held.getvalue())


def layout(table: Table) -> Layout:
    """Measure: the longest name makes the margin, the arms the height of a row."""
    tasks = [task for task in table.grid.tasks if task in table.referees]
    shown = [called(name) for task in tasks for name in names_of(table, task)]
    margin = EDGE + max(map(inches, shown)) + 0.1
    width = margin + (SCORES + BETWEEN + GAINS if len(table.grid.arms) > 1 else SCORES + GAINS) + EDGE
    width = max(width, inches(table.grid.title, 12) + 2 * EDGE, inches(sized(table.store)) + 2 * EDGE)
    row = max(0.34, 0.14 * len(table.grid.arms))
    heights = [(task, ABOVE + BELOW + row * len(names_of(table, task))) for task in tasks]
    return Layout(margin, width, legend(table.grid.arms, width - 2 * EDGE), row, tuple(heights))


def inches(text: str, size: float = 9) -> float:
    """Return how much room a text takes at most; what draws the SVG may have another font."""
    letters = sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
    return letters * size * 0.0092


def legend(arms: tuple[str, ...], width: float) -> tuple[tuple[tuple[str, int], ...], ...]:
    """Break the names of the arms into lines; a single one needs no name."""
    lines: list[list[tuple[str, int]]] = []
    for place, arm in enumerate(arms if len(arms) > 1 else ()):
        if not lines or sum(entry(name) for name, _ in lines[-1]) + entry(arm) > width:
            lines.append([])
        lines[-1].append((arm, place))
    return tuple(map(tuple, lines))


def entry(arm: str) -> float:
    """Return the room of an arm in the legend."""
    return inches(f"● {arm}") + 0.2


def draw_head(figure: Any, table: Table, placed: Layout) -> None:
    """Write the title, the store and the arms, each in its colour."""
    up, across = EDGE + LINE / 2, placed.width

    def write(x: float, words: str, **how: Any) -> None:
        figure.text(x / across, 1 - up / placed.height, words, va="center", **how)

    write(EDGE, table.grid.title, fontsize=12)
    up += LINE
    write(EDGE, sized(table.store), color=QUIET)
    up += 1.1 * LINE
    for line in placed.legend:
        x = EDGE
        for arm, place in line:
            write(x, f"● {arm}", color=COLOURS[place % len(COLOURS)])
            x += entry(arm)
        up += LINE


def names_of(table: Table, task: str) -> list[str]:
    """List the rows of a task: networks, their mean gain, the ensemble."""
    several = [MEAN] if len(table.grid.arms) > 1 and len(table.grid.recipes(task)) > 1 else []
    ensemble = [ENSEMBLE] if table.members(task).recipes else []
    return [*table.grid.recipes(task), *several, *ensemble]


def called(name: str) -> str:
    """Return what stands beside a row."""
    return f"{MEAN} of networks" if name == MEAN else name


def draw_task(figure: Any, table: Table, placed: Layout, task: str, top: float) -> None:
    """Draw one task: scores on the left, gains on the right, of one row per network."""
    names, many, across = names_of(table, task), len(table.grid.arms) > 1, placed.width
    high = (top - ABOVE) / placed.height
    tall = placed.row * len(names) / placed.height
    wide = SCORES if many else SCORES + GAINS
    left: Axes = figure.add_axes((placed.margin / across, high - tall, wide / across, tall))
    main = table.metrics(task)[0]
    lines = list(table.metric_lines(task, main))
    for arm in table.grid.arms:
        draw(left, table, [x for x in lines if x.arm == arm], names, gains=False)
    prepare(left, [called(name) for name in names], SCORE_WORDS.format(SPELT[main]))
    figure.text(placed.margin / across, high + 0.12 / placed.height, task, fontsize=11, weight="bold")
    if many:
        begin = (placed.margin + SCORES + BETWEEN) / across
        right: Axes = figure.add_axes((begin, high - tall, GAINS / across, tall))
        right.axvline(0, color=QUIET, linewidth=0.8, zorder=1)
        for arm in table.grid.arms[1:]:
            draw(right, table, [x for x in lines if x.arm == arm], names, gains=True)
        better = "; below 0 is better" if main == "rmse" else ""
        words = f"gain over {table.grid.arms[0]}, paired, 95 % interval{better}"
        prepare(right, [""] * len(names), words)


def draw(axes: "Axes", table: Table, lines: list[Line], names: list[str], *, gains: bool) -> None:
    """Draw the dots and intervals of one arm; the arms share 0.7 of a row's height."""
    for line in lines:
        found = line.gain if gains else line.score
        if found is None or np.isnan(found.value):
            continue
        arms = table.grid.arms[1:] if gains else table.grid.arms
        colour = COLOURS[table.grid.arms.index(line.arm) % len(COLOURS)]
        y = names.index(line.recipe) + 0.7 / len(arms) * (arms.index(line.arm) - (len(arms) - 1) / 2)
        hollow = line.recipe in (MEAN, ENSEMBLE)
        if line.of == "run":
            axes.plot(found.value, y, "o", color=colour, markersize=2.4, alpha=0.7, zorder=2)
            continue
        face = "white" if hollow else colour
        axes.plot([found.low, found.high], [y, y], color=colour, linewidth=1.6, alpha=0.55, zorder=2)
        axes.plot(found.value, y, "o", color=colour, markersize=5.5, markerfacecolor=face, zorder=3)


def prepare(axes: "Axes", names: list[str], words: str) -> None:
    """Set one row per network from the top, light rules, and what the axis shows."""
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel(words, fontsize=8)
    axes.grid(axis="x", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.locator_params(axis="x", nbins=6)
