"""Draw embeddings as a map: one dot a record, a panel for each label, or colours for a number.

Two axes show only part of what an embedding holds; the head says how much. Nothing is measured here.
"""

from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from einthoven.data.files import new_file
from einthoven.evaluate.nearest import Distance, Points, Vectors, placed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Way = Literal["pca", "umap"]
ONE, REST, UNKNOWN = "#0b5cad", "#a3abb8", "#dfe2e7"
INK, QUIET, RULE = "#1b1d21", "#5a606b", "#d9dce2"
STYLE: dict[Any, Any] = {"font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "einthoven"}
STYLE |= {"text.parse_math": False}  # names of columns are no formulas, whatever $ they hold
STYLE |= {"text.color": INK, "axes.edgecolor": RULE, "axes.labelcolor": QUIET}
PANELS, ACROSS, MOST = 6, 3, 3000  # labels shown, in a line, and dots: more is a blot, and heavy
SIDE, EDGE, HEAD, GAP = 2.5, 0.25, 0.75, 0.35  # inches: of a panel, around all, above, between
LETTER = 0.0092  # inches that a letter of 1 point needs at most
DOTS = 4000  # in all panels, that an SVG draws one by one; more become a picture in it


class Map(NamedTuple):
    """Where records lie on two axes, and what the axes are called."""

    place: Float[np.ndarray, "record 2"]
    axes: tuple[str, str]
    note: str


@dataclass(frozen=True, kw_only=True)
class Words:
    """What is said around a map."""

    title: str
    what: str  # is mapped: "features"
    labels: tuple[str, ...]
    numbers: bool = False  # truth is a number, to be shown by colour
    unit: str = ""


def draw_space(
    path: Path, records: Vectors, words: Words, *, distance: Distance = "cosine", way: Way = "pca"
) -> Path:
    """Draw into a file, .svg or .png; equal embeddings give equal bytes.

    The map is a PCA, or with `way` = "umap" what umap-learn makes of it, if that is installed. With the
    cosine as distance, vectors are brought to unit length first.
    """
    if path.suffix not in (".svg", ".png"):
        raise ValueError(f"{path}: a map is drawn as .svg or .png, not as {path.suffix or 'nothing'!r}.")
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    shown = np.sort(np.random.default_rng(0).permutation(len(records.vector))[:MOST])
    made, records = mapped(records.vector, distance, way), records.take(shown)
    panels = chosen(records, words)
    across, down = min(len(panels), ACROSS), -(-len(panels) // ACROSS)
    unsure = bool(np.isnan(records.truth[:, panels].astype(float)).any())
    told = below(words, made, len(panels), unsure=unsure)
    said = max(12 * len(words.title), 9 * len(told)) * LETTER
    width = 2 * EDGE + max(across * (SIDE + GAP) - GAP + 0.6 * words.numbers, said)
    size = (width, HEAD + down * (SIDE + GAP) + EDGE)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size)
        {".svg": FigureCanvasSVG, ".png": FigureCanvasAgg}[path.suffix](figure)
        head(figure, words.title, told)
        draw_panels(figure, records, made.place[shown], panels, words)
        name_axes(figure, made.axes)
        held = BytesIO()
        how: dict[str, Any] = {"metadata": {"Date": None}} if path.suffix == ".svg" else {}
        figure.savefig(held, format=path.suffix[1:], dpi=150, facecolor="white", **how)
    with new_file(path) as file:
        file.write(held.getvalue())
    return path


def mapped(vectors: Points, distance: Distance, way: Way) -> Map:
    """Bring vectors to two axes."""
    points = placed(vectors, distance)
    if way == "umap":
        return Map(
            by_umap(points, distance), ("UMAP 1", "UMAP 2"), "UMAP: only who is near whom means anything"
        )
    centred = points - points.mean(0)
    left, spread, _ = np.linalg.svd(centred, full_matrices=False)
    place = np.zeros((len(points), 2))
    axes = min(2, len(spread))
    place[:, :axes] = left[:, :axes] * spread[:axes]
    far = place[np.abs(place).argmax(0), [0, 1]]
    place *= np.where(far < 0, -1.0, 1.0)  # a component has no sign of its own: show the same each time
    share = np.zeros(2)
    share[:axes] = np.square(spread[:axes]) / max(float(np.square(spread).sum()), np.finfo(float).tiny)
    told = [f"component {i + 1} ({100 * share[i]:.0f} %)" for i in range(2)]
    kind = "PCA of unit vectors" if distance == "cosine" else "PCA"
    return Map(
        place, (told[0], told[1]), f"{kind}; these axes hold {100 * share.sum():.0f} % of the variance"
    )


def by_umap(points: Points, distance: Distance) -> Float[np.ndarray, "record 2"]:
    """Ask umap-learn."""
    made = umap().UMAP(metric=distance, random_state=0, n_jobs=1).fit_transform(points)
    return np.asarray(made, np.float64)


def umap() -> Any:
    """Return umap-learn, which is no part of einthoven, or refuse."""
    try:
        return import_module("umap")
    except ImportError as missing:
        raise ValueError(
            "map = 'umap' needs umap-learn: pip install umap-learn, or say map = 'pca'."
        ) from missing


def chosen(records: Vectors, words: Words) -> list[int]:
    """Choose the labels to show: of many the most frequent, in their own order."""
    if words.numbers:
        return [0]
    frequent = np.argsort(-np.nansum(records.truth == 1, axis=0), kind="stable")[:PANELS]
    return sorted(frequent.tolist())


def head(figure: "Figure", title: str, told: str) -> None:
    """Write the title, and below it what is mapped."""
    width, height = figure.get_size_inches()
    left = EDGE / width
    figure.text(left, 1 - 0.28 / height, title, fontsize=12, va="center")
    figure.text(left, 1 - 0.52 / height, told, color=QUIET, va="center")


def below(words: Words, made: Map, panels: int, *, unsure: bool) -> str:
    """Say what is mapped, of how many labels, and what the palest dots are, if there are any."""
    few = "" if words.numbers or panels == len(words.labels) else f"; {panels} of {len(words.labels)} labels"
    return f"{words.what}: {made.note}{few}" + ("; light grey: unknown" if unsure else "")


def draw_panels(
    figure: "Figure",
    records: Vectors,
    place: Float[np.ndarray, "record 2"],
    panels: list[int],
    words: Words,
) -> None:
    """Draw a panel for each label, line by line."""
    width, height = figure.get_size_inches()
    side = SIDE - 0.15
    for number, label in enumerate(panels):
        line, column = divmod(number, ACROSS)
        left, top = EDGE + 0.15 + column * (SIDE + GAP), HEAD + 0.2 + line * (SIDE + GAP)
        axes = figure.add_axes((left / width, 1 - (top + side) / height, side / width, side / height))
        dots = draw_number if words.numbers else draw_label
        dots(axes, place, records.truth[:, label], words.labels[label], words.unit)
        for drawn in axes.collections:
            drawn.set_rasterized(len(place) * len(panels) > DOTS)
        axes.set(xticks=[], yticks=[])  # numbers mean nothing here
        axes.set_aspect("equal", adjustable="datalim")  # what lies as far away is drawn as far away
        axes.margins(0.05)


def name_axes(figure: "Figure", names: tuple[str, str]) -> None:
    """Name the axes at the edge only."""
    panels = figure.axes
    for number, axes in enumerate(panels):
        if number + ACROSS >= len(panels):
            axes.set_xlabel(names[0], fontsize=8, labelpad=3)
        if number % ACROSS == 0:
            axes.set_ylabel(names[1], fontsize=8, labelpad=3)


def draw_label(
    axes: "Axes",
    place: Float[np.ndarray, "record 2"],
    truth: Float[np.ndarray, " record"],
    label: str,
    unit: str,
) -> None:
    """Draw who has a label over who has not, and below both of whom it is unknown."""
    yes, unknown = truth == 1, np.isnan(truth.astype(float))
    no = ~yes & ~unknown
    axes.scatter(place[unknown, 0], place[unknown, 1], s=9, color=UNKNOWN, linewidths=0)
    axes.scatter(place[no, 0], place[no, 1], s=9, color=REST, linewidths=0, alpha=0.8)
    axes.scatter(place[yes, 0], place[yes, 1], s=11, color=ONE, linewidths=0, alpha=0.75)
    axes.set_title(f"{label}  {int(yes.sum()):,}", fontsize=9, color=ONE, loc="left", pad=4)


def draw_number(
    axes: "Axes",
    place: Float[np.ndarray, "record 2"],
    truth: Float[np.ndarray, " record"],
    label: str,
    unit: str,
) -> None:
    """Draw a number as colour; who is unknown lies grey below."""
    known = ~np.isnan(truth)
    axes.scatter(place[~known, 0], place[~known, 1], s=9, color=UNKNOWN, linewidths=0)
    low, high = np.percentile(truth[known], [2, 98]) if known.any() else (0.0, 1.0)
    dots = axes.scatter(
        place[known, 0],
        place[known, 1],
        s=11,
        c=truth[known],
        cmap="viridis",
        vmin=low,
        vmax=high,
        linewidths=0,
    )
    bar = axes.figure.colorbar(dots, cax=axes.inset_axes((1.05, 0, 0.04, 1)), extend="both")
    bar.outline.set_visible(False)
    axes.set_title(f"{label} ({unit})" if unit else label, fontsize=9, loc="left", pad=4)
