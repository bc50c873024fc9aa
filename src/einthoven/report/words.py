"""Say numbers and results in words: the headline, the verdict, the warnings."""

import math
import re
import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

from einthoven.report.folder import NOTHING, Figure, Run, figure

NONE = "no labels"  # the task of a run that learned without any
FEWEST = 10  # patients in a test set that can be judged
WHOLE = {"ptbxl": ("PTB-XL", 21_799)}  # published sets and their records, by the store's source


def fixed(value: float, places: int = 3) -> str:
    """Write a number with fixed places and a true minus; a dash where there is none.

    >>> fixed(0.9124), fixed(-1.5, 1), fixed(float("nan"))
    ('0.912', '−1.5', '–')
    """
    return f"{value:.{places}f}".replace("-", "−") if math.isfinite(value) else "–"


def span(interval: Figure, places: int = 3) -> str:
    """Write an interval: with a dash, or with a word where a minus could be misread."""
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return ""
    between = " to " if interval.low < 0 else "–"
    return f"{fixed(interval.low, places)}{between}{fixed(interval.high, places)}"


def gained(gain: Figure, places: int = 3) -> tuple[str, str]:
    """Write a difference with its sign and its interval.

    >>> gained(Figure(0.0214, -0.003, 0.05))
    ('+0.021', '−0.003 to +0.050')
    """
    value, low, high = (f"{part:+.{places}f}".replace("-", "−") for part in gain)
    return value, f"{low} to {high}"


def places_for(value: float) -> int:
    """Choose places that show three digits of a quantity.

    >>> places_for(4.567), places_for(12.3), places_for(0.0123)
    (2, 1, 4)
    """
    if not math.isfinite(value) or value == 0:
        return 2
    return min(6, max(0, 2 - math.floor(math.log10(abs(value)))))


def many(number: int, noun: str) -> str:
    """Count a noun.

    >>> many(1, "record"), many(2203, "record")
    ('1 record', '2,203 records')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: object) -> str:
    """Say how long something took."""
    if not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return "–"
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def network(run: Run) -> str:
    """Name the network: backbone and head."""
    model = run.results.get("model", {})
    return " + ".join(str(model[key]) for key in ("backbone", "head") if model.get(key)) or "network"


def whose(run: Run, count: Mapping[str, Any]) -> str:
    """Count the ECGs of a split, and its patients where they are known."""
    ecgs = many(count["records"], "ECG")
    return f"{ecgs} of {many(count['patients'], 'patient')}" if run.patients_named else ecgs


def task(run: Run) -> str:
    """Name what was learned."""
    name = str(run.results["task"]["name"])
    if run.unlabelled:
        if run.results.get("taught"):
            return "Learning from reports"
        return "Learning without labels" if name == NONE else f"Learning the distances of {name}"
    return name


def headline(run: Run) -> str:
    """Say in one sentence what was trained on what."""
    train, test = (run.results["counts"][split] for split in ("train", "test"))
    task, weights = run.results["task"], run.results.get("model", {}).get("parameters")
    if run.unlabelled:
        how = "without labels" if task["name"] == NONE else f"the distances of the labels {task['name']}"
        if taught := run.results.get("taught"):
            how = (
                f"and {many(taught['reports'], 'report')}, {taught['different']:,} of them different: "
                "report-supervised, not self-supervised"
            )
        alarms = "".join(f" Warning: {alarm}" for alarm in run.results.get("alarms", ()))
        return (
            f"{network(run)} learned from {whose(run, train)} of {run.store.get('title', 'a store')} "
            f"{how}; the test set took no part. What it learned shows when a labelled run starts "
            f"from it, or in what “einthoven evaluate” finds.{alarms}"
        )
    few = len(run.labels) <= 8
    goal = (
        f"to predict {', '.join(run.labels)}" + (f" ({task['unit']})" if task.get("unit") else "")
        if run.regression
        else f"{many(len(run.labels), 'label')} ({', '.join(run.labels) if few else task['name']})"
    )
    size = f" ({weights:,} weights)" if weights else ""
    end = (
        "it had never seen."
        if run.patients_named
        else "it had never seen. The patients are unknown: each ECG counts as its own."
    )
    return (
        f"{network(run)}{size} learned {goal} from {whose(run, train)} of "
        f"{run.store.get('title', 'an unnamed store')}, and was tested on {whose(run, test)} {end}"
    )


class Row(NamedTuple):
    """One line of the headline's table."""

    name: str
    what: str
    figure: Figure
    gain: Figure  # the network's figure less this row's, over the same resampled patients
    time: str
    own: bool


def rows(run: Run) -> list[Row]:
    """List the network and the honest rows, best first."""
    lines = [
        Row(
            network(run), "this run", run.overall(run.main), NOTHING, duration(run.seconds.get("train")), True
        )
    ]
    for row in run.results.get("rows", []):
        name = str(row["name"])
        stage = "row " + re.sub(r"\W+", "_", name)  # as the run notes its stages
        took = duration(row.get("seconds", run.seconds.get(stage)))
        value, gain = figure(row.get(run.main)), figure(row.get("gain"))
        lines.append(Row(name, str(row.get("what", "")), value, gain, took, False))
    sign = 1 if run.regression else -1
    return sorted(lines, key=lambda row: sign * row.figure.value if row.figure.known else math.inf)


class Verdict(NamedTuple):
    """What the headline's table says, in a word and in a sentence."""

    kind: str  # above, noise, below, alone (no row), few (patients)
    sentence: str


def verdict(run: Run) -> Verdict:
    """Judge the network against the best honest row.

    A row that carries a paired `gain` (network minus row, in the run's main figure) is judged by it.
    Otherwise the two intervals are taken as independent, which is cautious: both were
    measured on the same ECGs. A handful of patients says nothing, whatever the intervals say.
    """
    patients = run.results["counts"]["test"]["patients"]
    if patients < FEWEST:
        noun = "patient" if run.patients_named else "ECG"
        held = f"The test set holds {many(patients, noun)}, fewer than {FEWEST}"
        return Verdict("few", f"{held}: too few to tell the network from any other row.")
    honest = [row for row in rows(run) if not row.own and row.figure.known]
    own = run.overall(run.main)
    if not own.known or not honest:
        return Verdict("alone", "There is no honest row to compare with: this number cannot be judged.")
    best = honest[0]
    places = places_for(own.value) if run.regression else 3
    gap = _difference(run, best)
    name, amount = (
        f"the best honest row ({best.name}, {fixed(best.figure.value, places)})",
        fixed(abs(gap.value), places),
    )
    unit = f" {run.results['task'].get('unit') or ''}".rstrip() if run.regression else ""
    over, under = ("better than", "worse than") if run.regression else ("above", "below")
    if gap.low > 0:
        return Verdict(
            "above",
            f"The network stands clearly {over} {name}: better by {amount}{unit}, beyond chance.",
        )
    if gap.high < 0:
        return Verdict(
            "below", f"The network stands clearly {under} {name}: worse by {amount}{unit}. Use that instead."
        )
    side = "better" if gap.value > 0 else "worse"
    return Verdict(
        "noise",
        f"The network is within noise of {name}: {side} by {amount}{unit}, which chance can explain. "
        "On these data it has not earned its place.",
    )


def _difference(run: Run, best: Row) -> Figure:
    """Return how much better the network is than a row (positive is better), with 95 %."""
    sign = -1 if run.regression else 1
    if best.gain.known:
        low, high = sorted((sign * best.gain.low, sign * best.gain.high))
        return Figure(sign * best.gain.value, low, high)
    one, two = run.overall(run.main), best.figure
    gap = one.value - two.value
    low = gap - math.hypot(one.value - one.low, two.high - two.value)
    high = gap + math.hypot(one.high - one.value, two.value - two.low)
    low, high = sorted((sign * low, sign * high))
    return Figure(sign * gap, low, high)


def subset(run: Run) -> str:
    """Say that the data are part of a published set, or nothing."""
    name, whole = WHOLE.get(str(run.store.get("source")), ("", 0))
    records = run.store.get("records", whole)
    if records >= 0.98 * whole:
        return ""
    return (
        f"Part of the data: {records:,} of the {whole:,} records of {name}. These numbers are not comparable "
        "with published results; compare runs on the same records."
    )


def flipped(run: Run) -> str:
    """Say that training labels were made wrong, or nothing."""
    share = run.results["task"].get("flip", 0)
    return f"{100 * share:g} % of the training labels flipped on purpose." if share else ""


def command(run: Run) -> str:
    """Return the command that makes this run again."""
    if run.environment.get("command"):
        return str(run.environment["command"])
    data = str(run.store.get("path", "STORE"))
    again = f"{run.path}-again"
    return shlex.join(["einthoven", "train", str(run.path / "recipe.toml"), "--data", data, "--out", again])


def flat(table: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Spread nested tables into one list of facts."""
    facts: dict[str, str] = {}
    for key, value in table.items():
        name = f"{before}{key}"
        facts |= flat(value, f"{name} ") if isinstance(value, Mapping) else {name: str(value)}
    return facts
