"""From a recipe to parts: the one place that puts them together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import nn

from einthoven.data.loader import Loader, Reader
from einthoven.data.task import Task, numbers
from einthoven.data.whole import Whole
from einthoven.ecg import Signal
from einthoven.layers.pool import Pool
from einthoven.layers.several import Heads, Losses
from einthoven.loop import Learner, Schedule
from einthoven.parts import Builder, call, find, hint, names
from einthoven.plan import Plan, tells_apart
from einthoven.policy import POLICY
from einthoven.processes import ALONE, Processes
from einthoven.recipe import several
from einthoven.settings import Settings
from einthoven.types import Augment, Backbone, Fusion, Head, Loss, Method, Miner, Sampler, Text


@dataclass(frozen=True)
class Job:
    """Everything that a recipe describes, ready to fit."""

    plan: Plan
    method: Method
    learner: Learner
    loader: Loader
    augment: nn.Sequential
    device: str
    processes: Processes = ALONE

    @property
    def answers(self) -> bool:
        """Say whether a task is answered: a run may also learn the distances of its labels alone."""
        heads = getattr(self.method, "heads", None)
        return self.plan.task.kind != "unlabelled" and isinstance(heads, Heads) and "logits" in heads.gives

    @property
    def makes_views(self) -> bool:
        """Say whether the augmentation makes several rows of a record, for a loss to compare."""
        return any(isinstance(augment, Augment) and augment.views for augment in self.augment)


def build_method(recipe: Mapping[str, Any], maker: Builder) -> Method:
    """Build from the bottom up; each part is offered to the later ones under its table's name."""
    offers = maker.offers
    table = recipe.get("method", {"name": "fusion" if "fusion" in recipe else "direct"})
    offers["backbone"] = maker.build("backbones", recipe["backbone"])
    offers["dim"] = offers["backbone"].dim
    build_text(recipe, maker)
    if "head" in recipe:
        refuse_unasked(several(recipe["head"]), offers["labels"])
        offers["heads"] = Heads([kin(maker.build("heads", t), Head, t) for t in several(recipe["head"])])
    if "loss" in recipe:
        offers["losses"] = build_losses(several(recipe["loss"]), maker)
    if table.get("name") == "fusion" and not {"text", "fusion"} <= offers.keys():
        raise ValueError(
            "Method 'fusion' needs a [text] with a name and a [fusion], say --set text.name=hashed "
            "--set text.view=full --set fusion.name=concat."
        )
    method: Method = maker.build("methods", table)
    for key, offer in {"head": "heads", "loss": "losses", "text": "text", "fusion": "fusion"}.items():
        if offer in offers and offer not in maker.taken:
            raise ValueError(f"Method {table['name']!r} takes no [{key}].")
    return method


def build_text(recipe: Mapping[str, Any], maker: Builder) -> None:
    """Build what reads reports, if it has a name, and what puts them beside ECGs."""
    table = {key: value for key, value in recipe.get("text", {}).items() if key not in POLICY}
    if table:
        maker.offers["text"] = kin(maker.build("texts", table), Text, table)
        maker.offers["text_dim"] = maker.offers["text"].dim
    if "fusion" in recipe:
        if not table:
            raise ValueError("[fusion] needs a [text] with a name, which says how reports are read.")
        maker.offers["fusion"] = kin(maker.build("fusions", recipe["fusion"]), Fusion, recipe["fusion"])


def refuse_unasked(heads: Sequence[Mapping[str, Any]], labels: int) -> None:
    """Refuse a head that answers where nothing is asked."""
    for table in heads:
        name = table.get("name")
        if not labels and isinstance(name, str) and "logits" in find("heads", name).gives:
            raise ValueError(f"Head {name!r} answers for labels, and the recipe has no [task].")


def kin(part: Any, abstract: type, table: Mapping[str, Any]) -> Any:
    """Return a part, or refuse one from outside that has not its contract."""
    if not isinstance(part, abstract):
        raise ValueError(f"{table['name']!r} must be a subclass of einthoven.types.{abstract.__name__}.")
    return part


def build_losses(tables: Sequence[Mapping[str, Any]], maker: Builder) -> Losses:
    """Build the losses; an optional one takes part only if the heads give what it reads."""
    heads: Heads | None = maker.offers.get("heads")
    given = {"features", *heads.gives} if heads else None
    losses: dict[str, Loss] = {}
    weights: dict[str, float] = {}
    for table in tables:
        loss = kin(maker.build("losses", table), Loss, table)
        asks = dict.fromkeys(name for part in readers(loss) for name in part.asks)
        lacks = [name for name in asks if given is not None and name not in given]
        if lacks and table.get("optional"):
            continue
        name = table["name"].rpartition(":")[2]
        name = name if name not in losses else f"{name}_{len(losses) + 1}"
        if lacks:
            told = f"the heads of this recipe give {', '.join(sorted(given or ()))}{remedy(lacks[0])}"
            mend = "or leave the loss out, or say optional = true in its table"
            raise ValueError(f"Loss {name!r} reads {lacks[0]!r}, but {told}; {mend}.")
        losses[name], weights[name] = loss, table.get("weight", 1.0)
    if not losses:
        raise ValueError("No loss of this recipe takes part: the heads give nothing that one reads.")
    return Losses(losses, weights)


def readers(method: nn.Module) -> list[Loss | Miner]:
    """List the losses and miners in a module: what reads outputs, columns and targets."""
    return [part for part in method.modules() if isinstance(part, Loss | Miner)]


def remedy(output: str) -> str:
    """Name the heads that give an output."""
    able = [name for name in names("heads") if output in find("heads", name).gives]
    return f": choose head {' or '.join(able)}" if able else ""


def network(
    recipe: Mapping[str, Any],
    wants: Signal,
    labels: int,
    seed: int,
    training: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[Method, Settings]:
    """Build the method of a recipe with fresh weights, or those that its tables start from.

    `training` offers what is known in a training only; parts must do without it.
    """
    settings = Settings()
    exclusive = recipe.get("task", {}).get("kind") == "multiclass"
    torch.manual_seed(seed)
    offers = {"wants": wants, "labels": labels, "exclusive": exclusive, **training}
    return build_method(recipe, Builder(offers, settings.apply)), settings


def fill_fitted(untrained: Method, trained: Method) -> None:
    """Give a method with random weights what another's text part has fitted: without, it reads nothing."""
    made, known = getattr(untrained, "text", None), getattr(trained, "text", None)
    if isinstance(made, Text) and isinstance(known, Text):
        fitted = dict(known.named_buffers())
        for name, buffer in made.named_buffers():
            buffer.copy_(fitted[name])


def best_device() -> str:
    """Return the fastest device of this machine."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def refuse_unserved(method: Method, task: Task) -> None:
    """Refuse a loss or miner that does not fit the kind of task: its answers would be read wrongly."""
    for part in readers(method):
        if task.kind in part.serves:
            continue
        if task.kind == "unlabelled":
            raise ValueError(f"{type(part).__name__} learns from labels, and the recipe has no [task].")
        fit = [name for name in names(part.kind) if task.kind in find(part.kind, name).serves]
        fit.sort(key=lambda name: find(part.kind, name).asks != part.asks)  # what reads the same comes first
        where = "loss.name" if isinstance(part, Loss) else "loss.miner.name"
        raise ValueError(
            f"{type(part).__name__} does not serve {task.name!r} ({task.kind}); "
            f"say --set {where}={fit[0]} (or {', '.join(fit[1:]) or 'one of your own'})."
        )


def refuse_unread(method: Method, planned: Plan) -> None:
    """Refuse an encoder that would fail at a report of this run, at the latest in its evaluation."""
    every = planned.texts or ()
    texts = sorted({every[row] for some in planned.split.named().values() for row in some if every})
    for part in method.modules():
        if isinstance(part, Text):
            part.check(texts)


@torch.no_grad()
def refuse_unpooled(method: Method, wants: Signal) -> None:
    """Refuse a pool that the backbone's tokens cannot serve, before there is a run."""
    heads, backbone = getattr(method, "heads", None), getattr(method, "backbone", None)
    if not isinstance(heads, Heads) or not isinstance(backbone, Backbone) or hasattr(method, "fusion"):
        return
    method.eval()
    tokens = backbone(torch.zeros(1, len(wants.leads), wants.samples))
    for part in heads.modules():
        if isinstance(part, Pool):
            part(tokens)


def to_device(method: Method, device: str) -> None:
    """Move a method, or say that the device is not there."""
    try:
        method.to(device)
    except (RuntimeError, AssertionError) as missing:
        raise ValueError(f"No device {device!r} here: {str(missing).splitlines()[0]}") from missing


def known_in_training(planned: Plan, steps: int) -> dict[str, Any]:
    """Offer what is known in a training only: rows of the store, steps in all, logits of the prevalence."""
    told: dict[str, Any] = {"records": len(planned.store), "steps": steps, "signals": Whole(planned.store)}
    if planned.texts is not None:
        corpus = [planned.texts[row] for row in planned.split.train]
        told |= {"corpus": corpus, "shelf": planned.store.path / "texts"}
    if planned.task.kind in ("regression", "unlabelled"):
        return told
    truth = torch.from_numpy(planned.truth[planned.split.train])
    share = truth.nanmean(0).nan_to_num().clamp(1e-4, 1 - 1e-4)
    return told | {"prior": share.log() if planned.task.kind == "multiclass" else share.logit()}


def columns_read(method: Method, planned: Plan) -> list[str]:
    """List the columns of the store that losses and miners read; refuse one that is not there."""
    reads = sorted({column for part in readers(method) for column in part.reads})
    known = [str(name) for name in planned.store.records.columns]
    for column in reads:
        if column not in known:
            told = f"A loss or miner reads column {column!r}, which {planned.store.path} lacks."
            raise ValueError(f"{told} Known: {', '.join(known)}.{hint(column, known)}")
        if np.isnan(numbers(planned.store.records[column].iloc[planned.split.train])).all():
            raise ValueError(f"A loss or miner reads column {column!r}, which holds no number in training.")
    return reads


def assemble(planned: Plan, device: str, processes: Processes = ALONE) -> Job:
    """Build all that a recipe describes, for one of several processes."""
    recipe, wants, task = planned.recipe, planned.wants, planned.task
    schedule: Schedule = call(Schedule, recipe["train"], where="train")
    validation = planned.truth[planned.split.validation]
    tells = task.kind in ("labels", "multiclass") and tells_apart(validation)
    if schedule.keep == "best-auroc" and not tells:
        raise ValueError("[train] keep = 'best-auroc' needs labels to tell apart; use 'best-loss'.")
    targets = task.scaled(planned.truth)
    rows, parts = torch.from_numpy(planned.split.train), schedule.accumulate * processes.count
    reader = Reader(planned.store, wants, targets, texts=planned.texts)
    offers = {"rows": rows, "targets": torch.from_numpy(targets)[rows], "wants": wants}
    offers |= {"patients": torch.from_numpy(reader.patients)[rows], "batch": schedule.batch * parts}
    maker = Builder(offers | {"seed": planned.seed})
    sampler: Sampler = maker.build("samplers", recipe.get("sampler", {"name": "shuffled"}))
    if not schedule.steps:
        schedule = replace(schedule, steps=max(1, round(schedule.epochs * sampler.steps)))
    training = known_in_training(planned, schedule.steps)
    method, settings = network(recipe, wants, len(task.labels), planned.seed, training)
    refuse_unserved(method, task)
    refuse_unread(method, planned)
    refuse_unpooled(method, wants)
    modules = {id(module): name for name, module in method.named_modules()}
    rates = {modules[id(part)]: rate for part, rate in settings.rates if id(part) in modules}
    augments = [maker.build("augments", t) for t in several(recipe.get("augment", []))]
    reads = columns_read(method, planned)
    window = round((planned.crop.seconds or wants.seconds) * wants.hertz)
    mine = processes.parts(schedule.accumulate)
    loader = Loader(replace(reader, columns=reads), sampler, planned.seed, window, parts, mine)
    to_device(method, device)
    learner = Learner(method, schedule, rates)
    job = Job(planned, method, learner, loader, nn.Sequential(*augments).to(device), device, processes)
    if schedule.keep == "best-auroc" and not job.answers:
        raise ValueError("[train] keep = 'best-auroc' needs a head that answers; use 'best-loss'.")
    return job
