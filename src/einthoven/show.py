"""What the command line prints: progress bars, and stores, runs, parts and answers as text."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from einthoven import parts
from einthoven.data.files import new_file
from einthoven.data.split import patients_named
from einthoven.data.store import COLUMNS, Store, open_store, verify
from einthoven.recipe import edit

if TYPE_CHECKING:
    import pandas as pd

    from einthoven.bench import Standing
    from einthoven.run import Progress

FLAGS = {
    "nan_share": "with missing samples",
    "flat": "with a flat lead",
    "clipped": "clipped",
    "high": "above 10 mV",
    "law": "against Einthoven's law",
    "absent": "lacking a lead",
}

FIGURES = {"auroc": "macro AUROC", "rmse": "RMSE", "mae": "MAE", "r2": "R²", "pearson": "Pearson's r"}
FIGURES |= {f"recall_at_{k}": f"Recall@{k}" for k in (1, 5, 10)}
FIGURES |= {"r_precision": "R-precision", "map_at_r": "MAP@R", "nmi": "NMI", "ari": "ARI"}
FIGURES |= {"purity": "purity", "noise": "share of noise", "silhouette": "silhouette"}
FIGURES |= {"davies_bouldin": "Davies-Bouldin", "calinski_harabasz": "Calinski-Harabasz"}


def options_of(sets: Sequence[str] | None) -> dict[str, Any]:
    """Read `--set key=value` options of a source."""
    options: dict[str, Any] = {}
    for change in sets or []:
        edit(options, change)
    return options


@contextmanager
def stoppable() -> Iterator[None]:
    """Make of Ctrl-C the line that says how to go on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise ValueError(str(stop) or "Stopped.") from stop


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar for a count of records or bytes; nothing where nobody watches."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Bar(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
    with stoppable(), bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


@contextmanager
def training() -> Iterator[Callable[["Progress"], None]]:
    """Show a bar with loss, records/s and time left; where nobody watches, a line per line of the log."""
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    watched = sys.stderr.isatty() and os.environ.get("RANK", "0") == "0"  # torchrun's first process
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with stoppable(), Bar(*columns, console=Console(stderr=True), disable=not watched) as bar:
        task = bar.add_task("training", total=None)

        def watch(now: "Progress") -> None:
            rate = now.records_per_second
            known = {f"  loss {now.loss:.3f}": now.loss, f"  {rate:,.0f} records/s": rate}
            told = now.what + "".join(words for words, number in known.items() if number == number)
            bar.update(task, description=told, completed=now.step, total=now.steps)
            if now.line and (line := validation_line(now)):
                bar.console.print(line, highlight=False) if watched else print(line, flush=True)
            for alarm in now.alarms:
                bar.console.print(f"Warning at step {now.step}: {alarm}", style="bold red", highlight=False)

        yield watch


@contextmanager
def benching() -> Iterator[Callable[["Standing"], None]]:
    """Show a bar over all runs, with what the current one does; where nobody watches, a line per run."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    watched = sys.stderr.isatty()
    columns = (BarColumn(20), MofNCompleteColumn(), TextColumn("{task.description}"))
    with stoppable(), Bar(*columns, console=Console(stderr=True), disable=not watched) as bar:
        task = bar.add_task("starting", total=None)

        def watch(now: "Standing") -> None:
            bar.update(task, description=standing_told(now), completed=now.finished, total=now.cells)
            if now.ended:
                left = "" if now.finished == now.cells else f"; {left_told(now)}"
                line = f"{now.finished}/{now.cells} {now.cell}: {now.ended}{left}"
                bar.console.print(line, highlight=False) if watched else print(line, flush=True)

        yield watch


def standing_told(now: "Standing") -> str:
    """Tell what a bench is at."""
    if now.reading:
        return f"reading finished runs: {now.cell}"
    left = left_told(now)
    if now.run is None:
        return left
    done = f"{100 * now.run.step / max(now.run.steps, 1):.0f} %"
    rate = now.run.records_per_second
    speed = f"  {rate:,.0f} records/s" if rate == rate else ""
    return f"{left}  {now.cell}: {now.run.what} {done}{speed}"


def left_told(now: "Standing") -> str:
    """Tell how long a bench will still take, as far as that is known."""
    return f"{'at least ' if now.more and now.left == now.left else ''}{lasting(now.left)} left"


def lasting(seconds: float) -> str:
    """Write how long something takes, as one would say it.

    >>> lasting(40), lasting(600), lasting(9000), lasting(187200), lasting(float("nan"))
    ('40 s', '10 min', '2 h 30 min', '2 d 4 h', 'unknown time')
    """
    if seconds != seconds:
        return "unknown time"
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    return (
        f"{minutes // 60} h {minutes % 60} min"
        if minutes < 2880
        else f"{minutes // 1440} d {minutes % 1440 // 60} h"
    )


def table_told(out: Path) -> str:
    """Tell the table of a bench."""
    page = (out / "table.md").read_text(encoding="utf-8")
    return f"{page}\nTable: {out / 'table.md'}, figure: {out / 'figure.svg'}"


def validation_line(now: "Progress") -> str:
    """Tell a line of the log if it has a validation score."""
    line = now.line or {}
    if "validation_loss" not in line:
        return ""
    area = f", AUROC {line['validation_auroc']:.3f}" if "validation_auroc" in line else ""
    return (
        f"epoch {line['epoch']:.0f}: loss {line['loss']:.3f}, validation loss {line['validation_loss']:.3f}"
        f"{area}, {line['records_per_second']:,.0f} records/s"
    )


def told(path: Path, *, verify: bool = False) -> str:
    """Tell what a store or a run holds."""
    if (path / "recipe.toml").is_file():
        return run_told(path)
    store = open_store(path)
    text = store_told(store)
    if verify:
        faults = checked(store)
        text += "\n" + ("\n".join(faults) if faults else "Every file is as it was written.")
    return text


def checked(store: Store) -> list[str]:
    """Verify a store's files."""
    return verify(store)


def store_told(store: Store) -> str:
    """Tell what a store holds."""
    records = store.records
    made_up = " MADE-UP ECGs" if store.synthetic else ""
    lines = [
        f"{store.path}: {store.title}.{made_up}",
        f"  {len(store):,} ECGs of {records['patient_id'].nunique():,} patients, {len(store.leads)} leads, "
        f"{store.hertz:g} Hz, {store.seconds:g} s, {store.microvolts:g} microvolts a step",
    ]
    for name, classes in store.tasks.items():
        lines.append(f"  task {name}: {len(classes)} labels ({shortened(classes)})")
    if "fold" in records and records["fold"].notna().any():
        counts = records["fold"].value_counts().sort_index()
        folds = (f"{fold or 'none, so for training only'}: {n:,}" for fold, n in counts.items())
        lines.append(f"  folds {', '.join(folds)}")
    if written := records["report"][records["report"].str.strip() != ""].tolist():
        lines.append(f"  reports: {len(written):,}, {len(set(written)):,} of them different")
    known = {*COLUMNS, *store.tasks}
    if others := [str(name) for name in records.columns if name not in known]:
        lines.append(f"  other columns: {shortened(others, 12)}")
    if faults := faults_told(records):
        lines.append(f"  quality: {faults}")
    if not patients_named(records):
        lines.append("  patients unknown: each ECG counts as its own (name them with --labels)")
    if rejected := len(store.rejected):
        reasons = store.path / "rejected.parquet"
        lines.append(f"  rejected: {rejected:,} (see {reasons}); to read mended files, delete the store")
    return "\n".join(lines)


def shortened(names: Sequence[str], most: int = 8) -> str:
    """List a few names."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def faults_told(records: "pd.DataFrame") -> str:
    """Count the records with each fault."""
    counts = {}
    for name, words in FLAGS.items():
        column = records[name]
        bad = (column != "") if name in ("flat", "absent") else column.astype(float) > 0
        counts[words] = int(bad.sum())
    return ", ".join(f"{n:,} {words}" for words, n in counts.items() if n)


def run_told(run: Path) -> str:
    """Tell what a run found."""
    from einthoven.results import read_results

    results = read_results(run)
    kind = results["task"]["kind"]
    regression, unlabelled = kind == "regression", kind == "unlabelled"
    name, figure = ("RMSE", "rmse") if regression else ("AUROC", "auroc")
    counts, model = results["counts"], results["model"]
    lines = [
        f"{run}: {' + '.join(filter(None, (model['backbone'], model['head'])))}, "
        f"{model['parameters']:,} weights, "
        f"{'' if results['task']['name'] == 'no labels' else 'task '}{results['task']['name']}",
        "  "
        + ", ".join(f"{k}: {v['records']:,} ECGs of {v['patients']:,} patients" for k, v in counts.items()),
    ]
    if left := {why: n for why, n in results["left_out"].items() if n}:
        lines.append("  left out: " + ", ".join(f"{n:,} {why}" for why, n in left.items()))
    if taught := results.get("taught"):
        read, different = taught["reports"], taught["different"]
        lines.append(f"  learned from {read:,} reports of training, {different:,} of them different")
    if results.get("report_supervised"):
        lines.append("  report-supervised: it started from a run that learned from reports")
    if unlabelled:
        lines += [f"Warning: {alarm}" for alarm in results.get("alarms", ())]
        lines.append(f"It learned features alone. Next: einthoven train RECIPE --start {run} ...")
        return "\n".join([*lines, f"Report: {run / 'report.html'}"])
    for row in results["rows"]:
        lines.append(f"  {row['name'].replace('_', ' ')}: {name} {interval_told(row[figure])}")
    if reports := results.get("reports"):
        lines += reports_told(reports, figure)
    mine = results["test"][figure] if regression else results["test"][figure]["macro"]
    word = name if regression else f"macro {name}"
    lines.append(f"Test {word} {interval_told(mine)}")
    lines.append(f"Report: {run / 'report.html'}")
    return "\n".join(lines)


def read_told(run: Path) -> str:
    """Tell that an answer rests on a text, too, and what that is worth."""
    from einthoven.results import read_results

    reports = read_results(run)["reports"]
    return "Answered from the ECG and the text." + (f" {leak_told(reports)}" if reports["leaky"] else "")


def leak_told(reports: dict[str, Any]) -> str:
    """Tell why figures are marked."""
    return (
        f"LEAKY: {reports['why']}"
        if reports.get("judged", True)
        else f"LEAKY until shown otherwise: {reports['why']}"
    )


def reports_told(reports: dict[str, Any], figure: str) -> list[str]:
    """Tell what reports add, and whether they give the answer away."""
    lines = [f"  {row['name']}: {interval_told(row[figure])}" for row in reports["answers"]]
    gain = dict(reports["gain"])
    over = gain.pop("over")
    what = f"RMSE of both less that of {over}" if figure == "rmse" else f"gain of both over {over}"
    lines.append(f"  {what}: {reach(gain, sign='+')}")
    return [leak_told(reports), *lines] if reports["leaky"] else lines


def interval_told(figure: dict[str, float | None]) -> str:
    """Write a figure with its interval."""
    value, low, high = (figure[k] for k in ("value", "low", "high"))
    if value is None:
        return "undefined"
    return f"{value:.3f}" + ("" if low is None else f" (95 % interval {low:.3f} to {high:.3f})")


def parts_told(kind: str) -> str:
    """List the parts of a kind, each with its options and what its docstring says."""
    lines = []
    for name in parts.names(kind):
        part = parts.find(kind, name)
        options = parts.signature(part)[1]
        spelt = ", ".join(
            f"{k}" if p.default is p.empty else f"{k}={p.default!r}" for k, p in options.items()
        )
        about = (part.__doc__ or "").strip().splitlines()[0]
        lines.append(f"{name}  {about}" + (f"\n    {spelt}" if spelt else ""))
    return "\n".join(lines)


def tasks_told(store: Path | None) -> str:
    """List the tasks of a store."""
    if store is None:
        raise ValueError("Say which store: einthoven list tasks STORE.")
    made = open_store(store)
    lines = [f"{name}  {len(labels)} labels: {', '.join(labels)}" for name, labels in made.tasks.items()]
    columns = [str(c) for c in made.records.columns if c not in made.tasks]
    return "\n".join([*lines, f"columns: {', '.join(columns)}"])


def comparison_told(a: Path, b: Path, told: dict[str, Any]) -> str:
    """Tell a paired comparison."""
    import pandas as pd

    lines = []
    for name, line in {"macro": told["macro"], **told["labels"]}.items():
        gap = line["difference"]
        bounds = "undefined" if gap["low"] is None else f"{gap['low']:+.3f} to {gap['high']:+.3f}"
        figures = {"a": line["a"], "b": line["b"], "b - a": gap["value"], "95 % interval": bounds}
        lines.append({told["metric"]: name} | figures | {"p": line["p"]})
    head = f"a = {a}\nb = {b}\n{told['records']:,} test ECGs of {told['patients']:,} patients"
    return f"{head}; {told['better']} is better\n{table(pd.DataFrame(lines))}"


def evaluation_told(told: dict[str, Any], out: Path) -> str:
    """Tell what embeddings are worth."""
    lines = [["", "", "this run", "against all leads", "random weights", "gain", "p", "chance"]]
    for row in told["rows"]:
        known = [row.get(name) for name in ("p", "chance")]
        p, chance = ("" if value is None else f"{value:.3f}" for value in known)
        figures = [reach(row["run"]), reach(row.get("against_all"), sign="+")]
        figures += [reach(row.get("untrained")), reach(row.get("gain"), sign="+")]
        first = row["job"] not in [line[0] for line in lines]
        lines.append([row["job"] if first else "", FIGURES[row["figure"]], *figures, p, chance])
    shown = [i for i in range(8) if i < 2 or any(line[i] for line in lines[1:])]
    widths = {i: max(len(line[i]) for line in lines) for i in shown}
    text = ["  ".join(f"{line[i]:{widths[i]}}" for i in shown).rstrip() for line in lines]
    test, task = told["counts"]["test"], told["task"]["name"]
    size = f"{test['records']:,} test ECGs of {test['patients']:,} patients"
    head = f"{told['run']} on {task}: {size}; {told['which']} of {told['dim']:,} numbers, 95 % intervals"
    made = told.get("derived", {})
    text += [
        f"{name}: {', '.join(leads)} computed from I and II, as in an import" for name, leads in made.items()
    ]
    text += prompts_told(told["about"].get("zero-shot", {}))
    skipped = [f"{job}: not done, {why}" for job, why in told["skipped"].items()]
    return "\n".join([head, *text, *skipped, f"Figures: {out}, map: {out.with_suffix('.svg')}"])


def prompts_told(about: dict[str, Any]) -> list[str]:
    """Tell each label's figure, and how much hangs on the wording of its prompts."""
    lines = []
    for label, spread in about.get("prompt_sensitivity", {}).items():
        alone = [f"{spread[end]:.3f}" for end in ("least", "most") if spread[end] is not None]
        how = f"; one prompt alone {' to '.join(alone)}" if alone else ""
        lines.append(f"  {label}: {reach(about['per_label'].get(label))}{how}")
    return lines


def reach(figure: dict[str, float | None] | None, sign: str = "") -> str:
    """Write a figure with its interval, short enough for a table."""
    if figure is None or figure["value"] is None:
        return ""
    value, low, high = (figure[k] for k in ("value", "low", "high"))
    return f"{value:{sign}.3f}" + ("" if low is None else f" ({low:{sign}.3f} to {high:{sign}.3f})")


def table(answers: "pd.DataFrame") -> str:
    """Write answers as a table."""
    return answers.to_string(index=False, float_format=lambda x: f"{x:.3f}")


def saved(vectors: "pd.DataFrame", out: Path, *, of: int) -> str:
    """Write vectors to a Parquet file, whole or not at all."""
    with new_file(out) as file:
        vectors.to_parquet(file, index=False)
    left = f"; {of - len(vectors):,} ECGs are too short or lack a lead" if of > len(vectors) else ""
    return f"{len(vectors):,} vectors of {vectors.shape[1] - 2} numbers in {out}{left}"
