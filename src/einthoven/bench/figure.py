"""The figure of a bench: every network's scores by arm, and beside them the paired gains."""

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from einthoven.bench.grid import ENSEMBLE, MEAN
from einthoven.bench.table import Line, Table
from einthoven.data.files import new_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#57606a", "#0b5cad", "#b04a00", "#0b6b4f", "#8a5300", "#a8201a")
INK, QUIET, RULE = "#1b1d21", "#5a606b", "#d9dce2"
STYLE: dict[Any, Any] = {"font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "einthoven"}
STYLE |= {"text.color": INK, "axes.edgecolor": RULE, "axes.labelcolor": QUIET}
STYLE |= {"xtick.color": QUIET, "ytick.color": INK}
# Inches: of a network, above and below the rows of a task, and of the title.
ROW, HEAD, FOOT, TITLE = 0.34, 0.55, 0.62, 0.4


def write_figure(table: Table, path: Path) -> None:
    """Draw `figure.svg`; equal tables give equal bytes."""
    tasks = [task for task in table.grid.tasks if task in table.referees]
    if not tasks:
        path.unlink(missing_ok=True)  # of runs that no longer count
        return
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        heights = [HEAD + FOOT + ROW * len(names_of(table, task)) for task in tasks]
        top = sum(heights)
        figure = Figure(figsize=(9.0, top + TITLE))
        FigureCanvasSVG(figure)
        made_on = f"{table.store.title.rstrip('.')}, {len(table.store):,} records"
        figure.text(0.03, 1 - 0.3 / (top + TITLE), table.grid.title, fontsize=12)
        figure.text(0.97, 1 - 0.3 / (top + TITLE), made_on, color=QUIET, ha="right")
        for task, height in zip(tasks, heights, strict=True):
            draw_task(figure, table, task, (top - height, height))
            top -= height
        held = BytesIO()
        figure.savefig(held, format="svg", facecolor="white", metadata={"Date": None})
    with new_file(path) as file:
        file.write(held.getvalue())


def names_of(table: Table, task: str) -> list[str]:
    """List the rows of a task: networks, their mean gain, the ensemble."""
    several = [MEAN] if len(table.grid.arms) > 1 and len(table.grid.recipes(task)) > 1 else []
    ensemble = [ENSEMBLE] if table.members(task) else []
    return [*table.grid.recipes(task), *several, *ensemble]


def draw_task(figure: Any, table: Table, task: str, place: tuple[float, float]) -> None:
    """Draw one task: scores on the left, gains on the right, of one row per network."""
    whole = figure.get_size_inches()[1]
    low, high = place[0] + FOOT, place[0] + place[1] - HEAD
    names, many = names_of(table, task), len(table.grid.arms) > 1
    box = (low / whole, (high - low) / whole)
    left: Axes = figure.add_axes((0.17, box[0], 0.42 if many else 0.75, box[1]))
    lines = [line for line in table.lines() if line.task == task]
    for arm in table.grid.arms:
        draw(left, table, [x for x in lines if x.arm == arm], names, gains=False)
    prepare(left, names, "test macro AUROC, 95 % interval; small: each seed")
    figure.text(0.17, (high + 0.2) / whole, task, fontsize=11, weight="bold")
    legend(figure, table, (high + 0.2) / whole)
    if many:
        right: Axes = figure.add_axes((0.63, box[0], 0.34, box[1]))
        right.axvline(0, color=QUIET, linewidth=0.8, zorder=1)
        for arm in table.grid.arms[1:]:
            draw(right, table, [x for x in lines if x.arm == arm], names, gains=True)
        prepare(right, [""] * len(names), f"gain over {table.grid.arms[0]}, paired, 95 % interval")


def draw(axes: "Axes", table: Table, lines: list[Line], names: list[str], *, gains: bool) -> None:
    """Draw the dots and intervals of one arm."""
    for line in lines:
        found = line.gain if gains else line.score
        if found is None or np.isnan(found.value):
            continue
        arms = table.grid.arms[1:] if gains else table.grid.arms
        colour = COLOURS[table.grid.arms.index(line.arm) % len(COLOURS)]
        y = names.index(line.recipe) + 0.2 * (arms.index(line.arm) - (len(arms) - 1) / 2)
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
    axes.set_yticks(range(len(names)), [f"{MEAN} of networks" if n == MEAN else n for n in names])
    axes.set_xlabel(words, fontsize=8)
    axes.grid(axis="x", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.locator_params(axis="x", nbins=6)


def legend(figure: Any, table: Table, height: float) -> None:
    """Name the arms above the scores, each in its colour."""
    at = 0.59 if len(table.grid.arms) > 1 else 0.92
    for place in reversed(range(len(table.grid.arms))):
        name, colour = table.grid.arms[place], COLOURS[place % len(COLOURS)]
        figure.text(at, height, f"● {name}", color=colour, ha="right", fontsize=9)
        at -= 0.035 + 0.0105 * len(name)
