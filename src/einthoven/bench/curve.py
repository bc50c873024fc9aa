"""The curve of a bench that learns from shares of the training patients, or of a subgroup: score by arm."""

from collections.abc import Iterable
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from einthoven.bench.figure import COLOURS, INK, QUIET, RULE, STYLE
from einthoven.bench.grid import base_of
from einthoven.bench.spell import sized
from einthoven.bench.table import SPELT, Line, Table
from einthoven.data.files import new_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DOTTED: tuple[Literal[":", "-."], ...] = (":", "-.")
Point = tuple[float, Line]  # share of the training patients, and the mean over seeds there


def write_curve(table: Table, path: Path) -> None:
    """Draw `curve.svg`, a panel for each task and recipe of several shares; nothing where there is none.

    A recipe that one arm only has runs of is no panel of its own: a dotted line in those of its task.
    """
    drawn = {panel: curves_of(table, panel) for panel in panels(table)}
    several = {key: curves for key, curves in drawn.items() if len(curves) > 1}
    shown = several or {key: curves for key, curves in drawn.items() if curves}
    lone = {
        panel: curves[0][1]
        for panel, curves in drawn.items()
        if len(curves) == 1 and any(alike(panel, other) for other in several)
    }
    if not shown:
        path.unlink(missing_ok=True)
        return
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(max(4.6 * len(shown), 5.5), 4.6))
        FigureCanvasSVG(figure)
        kinds = [SPELT[panel.metric.partition(" ")[0]] for panel in shown]
        panes = figure.subplots(1, len(shown), sharey=len(set(kinds)) == 1, squeeze=False)[0]
        for pane, (panel, curves) in zip(panes, shown.items(), strict=True):
            draw(pane, table, curves, [lone[other] for other in lone if alike(other, panel)])
            pane.set_title(panel.title, fontsize=10, loc="left")
            pane.set_xlabel(f"{panel.group or 'patients'} with labels in training", color=QUIET)
        for pane, kind, before in zip(panes, kinds, ["", *kinds], strict=False):
            pane.set_ylabel(f"test {kind}" if kind != before else "")
        figure.suptitle(f"{table.grid.title} · {sized(table.store)}", x=0.01, ha="left", fontsize=10)
        legend(figure, table, dict.fromkeys(panel.recipe for panel in lone))
        figure.tight_layout(rect=(0, 0.08, 1, 0.98))
        held = BytesIO()
        figure.savefig(held, format="svg", facecolor="white", metadata={"Date": None})
    with new_file(path) as file:
        file.write(held.getvalue())


class Panel(NamedTuple):
    """One pair of axes: a task (with a subgroup: "superdiag~women"), a recipe, a metric."""

    task: str
    recipe: str
    metric: str

    @property
    def group(self) -> str:
        """The subgroup that is made thin, or nothing."""
        return self.task.partition("~")[2]

    @property
    def title(self) -> str:
        """What stands above."""
        where = {"inside": f" among {self.group}", "outside": " among all others"}
        return f"{base_of(self.task)}, {self.recipe}{where.get(self.metric.rpartition(' ')[2], '')}"


def panels(table: Table) -> list[Panel]:
    """List what is drawn: tasks that stand in the grid with shares; a subgroup's inside it and outside."""
    found: dict[Panel, None] = {}
    for task, recipe in product(table.grid.tasks, table.grid.recipes()):
        name, at, _ = task.partition("@")
        metrics = table.metrics(task)
        for metric in metrics[1:3] if "~" in name else metrics[:1]:
            found |= {Panel(name, recipe, metric): None} if at else {}
    return list(found)


def alike(one: Panel, other: Panel) -> bool:
    """Say whether two recipes are judged by the same."""
    return (one.task, one.metric) == (other.task, other.metric)


def curves_of(table: Table, panel: Panel) -> list[tuple[str, list[Point]]]:
    """Return each arm's points, one for each share."""
    found: dict[str, list[Point]] = {}
    for task in table.grid.tasks:
        name, _, share = task.partition("@")
        if name == panel.task and share and panel.metric in table.metrics(task):
            for line in table.metric_lines(task, panel.metric):
                if line.recipe == panel.recipe and line.of == "seeds" and line.score is not None:
                    found.setdefault(line.arm, []).append((float(share), line))
    return [(arm, sorted(points, key=lambda point: point[0])) for arm, points in found.items()]


def draw(
    axes: "Axes", table: Table, curves: list[tuple[str, list[Point]]], beside: list[list[Point]]
) -> None:
    """Draw one line per arm, with a band where several seeds differ: one standard deviation."""
    every = sorted({share for _, points in curves for share, _ in points})
    for place, points in enumerate(beside):
        shares, values, _ = numbers(points, every)
        axes.plot(shares, values, DOTTED[place % len(DOTTED)], color=INK, linewidth=1.2)
    for arm, points in curves:
        colour = COLOURS[table.grid.arms.index(arm) % len(COLOURS)]
        shares, values, spread = numbers(points, every)
        style = "--" if arm == table.grid.arms[0] else "-"
        axes.fill_between(shares, values - spread, values + spread, color=colour, alpha=0.12, linewidth=0)
        axes.plot(shares, values, style, color=colour, linewidth=1.6, marker="o", markersize=3.5)
    axes.set_xticks(range(len(every)), [f"{100 * share:g} %" for share in every])
    axes.grid(color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def numbers(points: list[Point], every: list[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the places of shares, means over seeds, and the standard deviations where there are several."""
    points = [point for point in points if point[0] in every]
    shares = np.array([every.index(share) for share, _ in points])
    values = np.array([line.score.value for _, line in points if line.score])
    return shares, values, np.nan_to_num([line.sd for _, line in points])


def legend(figure: Any, table: Table, beside: Iterable[str]) -> None:
    """Name the arms below, in their colours; the baseline is dashed, what has one arm only is dotted."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=COLOURS[i % len(COLOURS)], ls="--" if i == 0 else "-", marker="o", ms=3.5)
        for i in range(len(table.grid.arms))
    ]
    names = [*table.grid.arms, *beside]
    rest = range(len(names) - len(handles))
    handles += [Line2D([], [], color=INK, ls=DOTTED[i % len(DOTTED)], lw=1.2) for i in rest]
    many = len(handles)
    figure.legend(handles, names, loc="lower center", ncols=min(many, 8), frameon=False, fontsize=8)
