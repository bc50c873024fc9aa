"""From a recipe to parts: the one place that puts them together."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from einthoven.checkpoint import load_part
from einthoven.data.loader import Loader, Reader, Windows
from einthoven.data.signal import prepare_many
from einthoven.data.split import Rule, Split, divide
from einthoven.data.store import Store
from einthoven.data.task import Task, find_task
from einthoven.ecg import Signal
from einthoven.evaluate.embed import Pool
from einthoven.layers.several import Heads, Losses
from einthoven.loop import Learner, Schedule
from einthoven.parts import Builder, call
from einthoven.recipe import several
from einthoven.types import Loss, Method, Sampler

RowName = Literal["prevalence", "age_sex", "random_encoder", "random_kernels"]


@dataclass(frozen=True)
class Crop:
    """Windows: random ones of `seconds` in training, overlapping ones at use, pooled after the link."""

    seconds: float | None = None  # what the loader reads; None: what the backbone reads
    stride: float | None = None  # between windows at use; None: half of what the backbone reads
    pool: Pool | None = None  # None: max, but mean for a regression


def usual_pool(task: Task) -> Pool:
    """Pool windows by their largest probability, as the benchmark does, but a regression's by their mean."""
    return "mean" if task.kind == "regression" else "max"


@dataclass(frozen=True)
class Judging:
    """How a finished run is judged."""

    resamples: int = 1000
    rows: tuple[RowName, ...] = ("prevalence", "age_sex", "random_encoder", "random_kernels")
    examples: int = 6


@dataclass(frozen=True)
class Plan:
    """What a recipe means on one store: everything but networks."""

    recipe: dict[str, Any]  # as resolved
    store: Store
    wants: Signal
    task: Task
    truth: Float[np.ndarray, "record label"]  # of the whole store, NaN unknown
    split: Split
    left_out: dict[str, int]  # reason -> records
    crop: Crop
    judging: Judging
    seed: int

    @property
    def pool(self) -> Pool:
        """How windows become one answer."""
        return self.crop.pool or usual_pool(self.task)

    def windows(self) -> Windows:
        """Return the windows at use."""
        reader = Reader(self.store, self.wants, self.task.scaled(self.truth))
        return Windows(reader, self.crop.stride or self.wants.seconds / 2)


@dataclass(frozen=True)
class Job:
    """Everything that a recipe describes, ready to fit."""

    plan: Plan
    method: Method
    learner: Learner
    loader: Loader
    augment: nn.Sequential
    device: str


def plan(recipe: Mapping[str, Any], store: Store) -> Plan:
    """Find the task, the split and the signal of a recipe on a store, and refuse what cannot be."""
    seed = recipe.get("seed", 0)
    wants: Signal = call(Signal, recipe.get("signal", {}), where="signal")
    task = find_task(store, dict(recipe.get("task", {})))
    rule: Rule = call(Rule, recipe.get("split", {}), where="split")
    truth = task.truth(store.records)
    rows, left_out = usable(store, wants, truth, task)
    split = divide(store.records, rows, truth[rows], rule)
    task = task.fitted(truth[split.train])
    refuse_one_class(task, truth[split.train])
    if wants.scale == "train":
        wants = replace(wants, scale=mean_and_sd(store, wants, split.train))
    resolved = dict(recipe) | {"seed": seed, "task": task.table(), "signal": table_of(wants)}
    crop = call(Crop, recipe.get("crop", {}), where="crop")
    judging = call(Judging, recipe.get("evaluate", {}), where="evaluate")
    return Plan(resolved, store, wants, task, truth, split, left_out, crop, judging, seed)


def table_of(wants: Signal) -> dict[str, Any]:
    """Write a signal as a table; what is None is left out."""
    told = {name: getattr(wants, name) for name in ("leads", "hertz", "seconds", "band", "scale", "subset")}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in told.items() if v is not None}


def usable(
    store: Store, wants: Signal, truth: Float[np.ndarray, "record label"], task: Task
) -> tuple[np.ndarray, dict[str, int]]:
    """Return the rows that have a label, the leads and the length, and count the others."""
    labelled = ~np.isnan(truth).all(1)
    if not labelled.any():
        raise ValueError(f"Task {task.name!r}: no record of {store.path} has a label.")
    long = Reader(store, wants).long_enough(np.arange(len(store)))
    if not (labelled & long).any():
        raise ValueError(
            f"[signal] seconds = {wants.seconds:g}, but no labelled record of {store.path} lasts so long."
        )
    absent = store.records["absent"].to_numpy(dtype=object)
    lacking = np.array([any(lead in gone.split() for lead in wants.leads) for gone in absent])
    if not wants.subset and lacking.any():
        who = store.records["record_id"].iloc[int(lacking.argmax())]
        raise ValueError(
            f"{int(lacking.sum())} of {len(store)} records lack leads that this model reads (record {who} "
            f"lacks {absent[int(lacking.argmax())]}); choose [signal] leads, or set subset = true."
        )
    left_out = {"no label": int((~labelled).sum()), "too short": int((labelled & ~long).sum())}
    return np.flatnonzero(labelled & long), left_out


def refuse_one_class(task: Task, truth: Float[np.ndarray, "record label"]) -> None:
    """Refuse a task in which the training split has nothing to tell apart."""
    if task.kind != "regression" and all(len(np.unique(c[~np.isnan(c)])) < 2 for c in truth.T):
        raise ValueError(f"Task {task.name!r}: every training record is of one class; nothing to learn.")


def mean_and_sd(store: Store, wants: Signal, rows: np.ndarray, most: int = 20_000) -> tuple[float, float]:
    """Return one mean and sd (mV) over leads and samples of training records, as in the benchmark."""
    some = np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(int)
    total = square = count = 0.0
    for first in range(0, len(some), 512):
        part = rows[some[first : first + 512]]
        stops = store.records["stop"].to_numpy()[part]
        ecg = prepare_many(store.read(part), store.leads, store.hertz, wants, stops=stops)
        total, square = total + ecg.sum(dtype=np.float64), square + np.square(ecg).sum(dtype=np.float64)
        count += ecg.size
    mean = total / count
    return round(float(mean), 6), round(float(np.sqrt(square / count - mean**2)), 6)


class Settings:
    """What the tables say about learning a part: where it starts, whether and how fast it learns."""

    def __init__(self) -> None:
        self.rates: list[tuple[nn.Module, float]] = []

    def apply(self, kind: str, part: Any, table: Mapping[str, Any]) -> None:
        """Start, freeze, note the rate; before anyone copies the part."""
        if "start" in table:
            load_part(part, f"{kind.removesuffix('s')}.", Path(table["start"]))
        if table.get("freeze"):
            part.requires_grad_(False)
        if "lr" in table:
            self.rates.append((part, table["lr"]))


def build_method(recipe: Mapping[str, Any], maker: Builder) -> Method:
    """Build from the bottom up; each part is offered to the later ones under its table's name."""
    offers, table = maker.offers, recipe.get("method", {"name": "direct"})
    offers["backbone"] = maker.build("backbones", recipe["backbone"])
    offers["dim"] = offers["backbone"].dim
    if "head" in recipe:
        offers["heads"] = Heads([maker.build("heads", t) for t in several(recipe["head"])])
    if "loss" in recipe:
        losses: dict[str, Loss] = {}
        weights: dict[str, float] = {}
        for t in several(recipe["loss"]):
            name = t.get("name", "")
            name = name if name not in losses else f"{name}_{len(losses) + 1}"
            losses[name], weights[name] = maker.build("losses", t), t.get("weight", 1.0)
        offers["losses"] = Losses(losses, weights)
    method: Method = maker.build("methods", table)
    for key, offer in {"head": "heads", "loss": "losses"}.items():
        if key in recipe and offer not in maker.taken:
            raise ValueError(f"Method {table['name']!r} takes no [{key}].")
    return method


def network(recipe: Mapping[str, Any], wants: Signal, labels: int, seed: int) -> tuple[Method, Settings]:
    """Build the method of a recipe with fresh weights, or those that its tables start from."""
    settings = Settings()
    torch.manual_seed(seed)
    return build_method(recipe, Builder({"wants": wants, "labels": labels}, settings.apply)), settings


def best_device() -> str:
    """Return the fastest device of this machine."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def assemble(planned: Plan, device: str) -> Job:
    """Build all that a recipe describes."""
    recipe, wants, task = planned.recipe, planned.wants, planned.task
    method, settings = network(recipe, wants, len(task.labels), planned.seed)
    modules = {id(module): name for name, module in method.named_modules()}
    rates = {modules[id(part)]: rate for part, rate in settings.rates}
    schedule: Schedule = call(Schedule, recipe["train"], where="train")
    if schedule.keep == "best-auroc" and task.kind == "regression":
        raise ValueError("[train] keep = 'best-auroc' needs labels; a regression has 'best-loss'.")
    targets = task.scaled(planned.truth)
    rows = torch.from_numpy(planned.split.train)
    reads = sorted({c for m in method.modules() if isinstance(m, Loss) for c in m.reads})
    reader = Reader(planned.store, wants, targets, reads)
    offers = {"rows": rows, "targets": torch.from_numpy(targets)[rows], "wants": wants}
    offers |= {"patients": torch.from_numpy(reader.patients)[rows], "batch": schedule.batch}
    maker = Builder(offers | {"seed": planned.seed})
    sampler: Sampler = maker.build("samplers", recipe.get("sampler", {"name": "shuffled"}))
    augments = [maker.build("augments", t) for t in several(recipe.get("augment", []))]
    window = round((planned.crop.seconds or wants.seconds) * wants.hertz)
    loader = Loader(reader, sampler, planned.seed, window)
    if not schedule.steps:
        schedule = replace(schedule, steps=max(1, round(schedule.epochs * sampler.steps)))
    method.to(device)
    learner = Learner(method, schedule, rates)
    return Job(planned, method, learner, loader, nn.Sequential(*augments).to(device), device)
