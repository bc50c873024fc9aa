"""From a recipe to parts: the one place that puts them together."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from einthoven.checkpoint import load_part
from einthoven.data.loader import Loader, Reader
from einthoven.data.task import Task
from einthoven.ecg import Signal
from einthoven.layers.several import Heads, Losses
from einthoven.loop import Learner, Schedule
from einthoven.parts import Builder, call, find, names
from einthoven.plan import Plan, tells_apart
from einthoven.recipe import several
from einthoven.types import Loss, Method, Sampler


@dataclass(frozen=True)
class Job:
    """Everything that a recipe describes, ready to fit."""

    plan: Plan
    method: Method
    learner: Learner
    loader: Loader
    augment: nn.Sequential
    device: str


class Settings:
    """What the tables say about learning a part: where it starts, whether and how fast it learns."""

    def __init__(self) -> None:
        self.rates: list[tuple[nn.Module, float]] = []

    def apply(self, kind: str, part: Any, table: Mapping[str, Any]) -> None:
        """Start, freeze, note the rate; before anyone copies the part."""
        if "start" in table and kind != "backbones":
            raise ValueError(f"Only a backbone can start from another run; {table['name']!r} cannot.")
        if "start" in table:
            load_part(part, "backbone.", Path(table["start"]))
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
            name = t.get("name", "").rpartition(":")[2]
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


def refuse_unserved(method: Method, task: Task) -> None:
    """Refuse a loss that does not fit the kind of task: its answers would be read wrongly."""
    for loss in method.modules():
        if isinstance(loss, Loss) and task.kind not in loss.serves:
            fit = [name for name in names("losses") if task.kind in find("losses", name).serves]
            raise ValueError(
                f"Loss {type(loss).__name__} does not serve {task.name!r} ({task.kind}); "
                f"say --set loss.name={fit[0]} (or {', '.join(fit[1:]) or 'one of your own'})."
            )


def to_device(method: Method, device: str) -> None:
    """Move a method, or say that the device is not there."""
    try:
        method.to(device)
    except (RuntimeError, AssertionError) as missing:
        raise ValueError(f"No device {device!r} here: {str(missing).splitlines()[0]}") from missing


def assemble(planned: Plan, device: str) -> Job:
    """Build all that a recipe describes."""
    recipe, wants, task = planned.recipe, planned.wants, planned.task
    method, settings = network(recipe, wants, len(task.labels), planned.seed)
    modules = {id(module): name for name, module in method.named_modules()}
    rates = {modules[id(part)]: rate for part, rate in settings.rates}
    schedule: Schedule = call(Schedule, recipe["train"], where="train")
    refuse_unserved(method, task)
    validation = planned.truth[planned.split.validation]
    if schedule.keep == "best-auroc" and (task.kind == "regression" or not tells_apart(validation)):
        raise ValueError("[train] keep = 'best-auroc' needs labels to tell apart; use 'best-loss'.")
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
    to_device(method, device)
    learner = Learner(method, schedule, rates)
    return Job(planned, method, learner, loader, nn.Sequential(*augments).to(device), device)
