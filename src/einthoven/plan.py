"""What a recipe means on one store: the task, the split, the signal, and the records that take part."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from einthoven import recipe as recipes
from einthoven.ancestry import held_by, here, run_of, starts
from einthoven.audit import Verdict
from einthoven.checkpoint import signal_of
from einthoven.data.loader import Reader, Windows
from einthoven.data.split import Held, Rule, Split, divide
from einthoven.data.store import Store
from einthoven.data.task import Task, find_task
from einthoven.ecg import Signal
from einthoven.evaluate.embed import Pool
from einthoven.parts import OURS, call, find, signature
from einthoven.policy import hiding, leak_of, taught_by, texts_of

RowName = Literal["prevalence", "age_sex", "random_encoder", "random_kernels", "wavelet", "rhythm"]


@dataclass(frozen=True)
class Crop:
    """Windows: random ones of `seconds` in training, overlapping ones at use, pooled after the link."""

    seconds: float | None = None  # what the loader reads; None: what the backbone reads
    stride: float | None = None  # between windows at use; None: half of what the backbone reads
    pool: Pool | None = None  # None: max, but mean for a regression


def usual_pool(task: Task) -> Pool:
    """Pool labels by their largest probability, as the benchmark does; classes and numbers by their mean."""
    return "max" if task.kind == "labels" else "mean"


@dataclass(frozen=True)
class Judging:
    """How a finished run is judged."""

    resamples: int = 1000
    rows: tuple[RowName, ...] = ("prevalence", "age_sex", "random_encoder", "random_kernels")
    examples: int = 6
    above: float | None = None  # of a regression: also judged as a score of truth > this


@dataclass(frozen=True)
class Plan:
    """What a recipe means on one store: everything but networks."""

    recipe: dict[str, Any]  # as resolved
    store: Store
    wants: Signal
    task: Task
    truth: Float[np.ndarray, "record label"]  # of the whole store, NaN unknown; of training with its flips
    split: Split
    held: Held  # where people stood in the runs that this one starts from, of whatever store
    left_out: dict[str, int]  # reason -> records
    crop: Crop
    judging: Judging
    seed: int
    texts: tuple[str, ...] | None = None  # of the whole store: what the policy lets through of each report
    leak: Verdict | None = None  # where texts are an input: whether they say the answer
    taught: Mapping[str, Any] = field(default_factory=dict)  # by reports, here or in earlier runs

    @property
    def pool(self) -> Pool:
        """How windows become one answer."""
        return self.crop.pool or usual_pool(self.task)

    def windows(self, told: Callable[[int], None] = lambda records: None) -> Windows:
        """Return the windows at use; `told` hears of records that are done."""
        reader = Reader(self.store, self.wants, self.task.scaled(self.truth), texts=self.texts)
        return Windows(reader, self.crop.stride or self.wants.seconds / 2, told)


def plan(recipe: Mapping[str, Any], store: Store, after: Sequence[Path] = ()) -> Plan:
    """Find the task, the split and the signal of a recipe on a store, and refuse what cannot be.

    Patients stay on the side where they stood in the runs that the recipe starts from, and in those `after`
    which it is planned.
    """
    recipe, seed = inherited(recipe), recipe.get("seed", 0)
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed is a whole number from 0, got {seed!r}.")
    wants: Signal = call(Signal, recipe.get("signal", {}), where="signal")
    task = find_task(store, dict(recipe.get("task", {})))
    recipe = hiding(recipe, store, task)
    rule: Rule = call(Rule, recipe.get("split", {}), where="split")
    truth = task.truth(store.records)
    crop: Crop = call(Crop, recipe.get("crop", {}), where="crop")
    longer = replace(wants, seconds=max(wants.seconds, crop.seconds or 0.0))
    rows, left_out = usable(store, longer, truth, task)
    before = [run_of(Path(rule.after))] if rule.after else []
    held = held_by([*after, *before, *starts(recipe)], store)
    split = divide(store.records, rows, truth[rows], rule, here(held, store))
    left_out["in no split"] = len(rows) - sum(map(len, split.named().values()))
    task = task.fitted(truth[split.train])
    if task.kind in ("labels", "multiclass") and not tells_apart(truth[split.train]):
        raise ValueError(f"Task {task.name!r}: every training record is of one class; nothing to learn.")
    if task.flip:  # last, so that noise changes neither the split nor what is refused
        truth[split.train] = task.flipped(truth[split.train], seed)
    if wants.scale == "train":
        begun = begun_by(recipe["backbone"])  # its weights know their own scale
        # Else that of all who could be trained on: it needs no label, and is the same whoever is kept.
        scale = signal_of(begun).scale if begun else mean_and_sd(store, wants, split.candidates)
        wants = replace(wants, scale=scale)
    resolved = dict(recipe) | {"seed": seed, "signal": table_of(wants)}
    if task.kind != "unlabelled":
        resolved["task"] = task.table()
    judging: Judging = call(Judging, recipe.get("evaluate", {}), where="evaluate")
    if judging.above is not None and task.kind != "regression":
        above = f"[evaluate] above = {judging.above:g}"
        raise ValueError(f"{above} judges a regression; {task.name!r} is none: leave it out.")
    texts = texts_of(recipe, store)
    leak = leak_of(recipe, store, task, truth, split, texts)
    made = (resolved, store, wants, task, truth, split, held, left_out, crop, judging, seed)
    return Plan(*made, texts=texts, leak=leak, taught=taught_by(recipe, texts, split))


def inherited(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give a backbone the options of the run that it starts from, where the recipe does not say them."""
    return {**recipe, "backbone": taken_over(recipe.get("backbone", {}))}


def taken_over(table: Mapping[str, Any]) -> dict[str, Any]:
    """Do so for a backbone and those nested in it; one of these may be whom the run is meant for."""
    table = dict(table)
    nested = [key for key, value in table.items() if isinstance(value, Mapping) and "name" in value]
    if "start" in table:
        theirs = recipes.load(run_of(Path(table["start"])) / "recipe.toml")["backbone"]
        meant = [key for key in nested if table[key]["name"] == theirs["name"]]
        if theirs["name"] == table.get("name"):
            refuse_resettled(table, theirs)
            table = options_of(theirs) | table
        elif len(meant) == 1:
            table[meant[0]] = {**table[meant[0]], "start": table.pop("start")}
    return table | {key: taken_over(table[key]) for key in nested}


def refuse_resettled(table: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Refuse an option other than that of the run to start from, though its weights would load."""
    part = find("backbones", theirs["name"])
    for name in part.settled:
        usual = signature(part)[1][name].default
        said, was = table.get(name, theirs.get(name, usual)), theirs.get(name, usual)
        if said != was:
            raise ValueError(
                f"{table['start']} was learned with [backbone] {name} = {was!r}, and this recipe says "
                f"{said!r}: leave it out, or start from another run."
            )


def options_of(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a part is, however deep, without what a recipe says of its learning."""
    said = {key: value for key, value in table.items() if key not in OURS}
    return {key: options_of(value) if isinstance(value, Mapping) else value for key, value in said.items()}


def begun_by(table: Mapping[str, Any]) -> Path | None:
    """Return the run (or file of weights) that a backbone or one nested in it starts from."""
    if "start" in table:
        return Path(table["start"])
    nested = (begun_by(value) for value in table.values() if isinstance(value, Mapping))
    return next(filter(None, nested), None)


def table_of(wants: Signal) -> dict[str, Any]:
    """Write a signal as a table; what is None is left out."""
    told = {name: getattr(wants, name) for name in ("leads", "hertz", "seconds", "band", "scale", "subset")}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in told.items() if v is not None}


def usable(
    store: Store, wants: Signal, truth: Float[np.ndarray, "record label"], task: Task
) -> tuple[np.ndarray, dict[str, int]]:
    """Return the rows that have a label, the leads and the length, and count the others.

    Without labels there are ECGs enough: those with missing samples are left out, too.
    """
    labelled = ~np.isnan(truth).all(1) | (task.kind == "unlabelled")
    if not labelled.any():
        raise ValueError(f"Task {task.name!r}: no record of {store.path} has a label.")
    reader, every = Reader(store, wants), np.arange(len(store))
    long = reader.long_enough(every)
    if not (labelled & long).any():
        raise ValueError(
            f"[signal] (and [crop]) seconds = {wants.seconds:g}, but no labelled record of {store.path} "
            "lasts so long."
        )
    lacks = reader.lacks_leads(every) & (not wants.subset)
    fit = labelled & long & ~lacks
    if not fit.any():
        who, many = int((labelled & long).argmax()), int((labelled & long).sum())
        raise ValueError(
            f"{many} of {len(store)} records lack leads that this model reads (record "
            f"{store.records['record_id'].iloc[who]} lacks {reader.absent[who]}); "
            "choose [signal] leads, or set subset = true."
        )
    left_out = {"no label": ~labelled, "too short": labelled & ~long, "lacks a lead": labelled & long & lacks}
    if task.kind == "unlabelled":
        left_out["has missing samples"] = fit & (store.records["nan_share"].to_numpy() > 0)
        fit = fit & ~left_out["has missing samples"]
        if not fit.any():
            raise ValueError(f"Every ECG of {store.path} that could be learned from has missing samples.")
    return np.flatnonzero(fit), {why: int(rows.sum()) for why, rows in left_out.items()}


def tells_apart(truth: Float[np.ndarray, "record label"]) -> bool:
    """Say whether any label has more than one value among some records."""
    return any(len(np.unique(column[~np.isnan(column)])) > 1 for column in truth.T)


def mean_and_sd(store: Store, wants: Signal, rows: np.ndarray, most: int = 20_000) -> tuple[float, float]:
    """Return one mean and sd (mV) over leads and samples of training records, as in the benchmark.

    Padding and absent leads take no part.
    """
    some = rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(int)]
    reader = Reader(store, wants)
    total = square = count = 0.0
    for first in range(0, len(some), 512):
        part = some[first : first + 512]
        ecg = reader.whole(part)
        start, stop = (edge[:, None, None] for edge in reader.spans(part))
        time = np.arange(ecg.shape[2])
        leads = reader.leads(part)
        there = True if leads is None else leads.numpy()[..., None] >= 0
        real = np.broadcast_to((time >= start) & (time < stop) & there, ecg.shape)
        total += ecg.sum(dtype=np.float64, where=real)
        square += np.square(ecg).sum(dtype=np.float64, where=real)
        count += real.sum()
    mean = total / count
    return round(float(mean), 6), round(float(np.sqrt(square / count - mean**2)), 6)
