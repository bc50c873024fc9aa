"""Train a recipe on a store into a run folder; a killed run goes on where it was, to the same bits."""

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from einthoven import recipe as recipes
from einthoven.ancestry import FILE as PATIENTS
from einthoven.ancestry import write_patients
from einthoven.assemble import Job, assemble, best_device
from einthoven.checkpoint import load_resume, load_weights, save_resume, save_weights, steps_saved
from einthoven.data.files import one_line, read_json, write_json, write_text
from einthoven.data.store import open_store
from einthoven.evaluate import macro_auroc
from einthoven.evaluate.embed import answers
from einthoven.log import Log, tracker
from einthoven.loop import Schedule, autocast, fit, seed_of
from einthoven.memory import keep_freed_memory
from einthoven.plan import plan
from einthoven.probing import fit_probe, only_probe
from einthoven.processes import joined
from einthoven.results import environment, finish
from einthoven.types import Batch


@dataclass(frozen=True)
class Progress:
    """Where a training stands, for whoever shows it."""

    step: int
    steps: int
    loss: float = float("nan")
    records_per_second: float = float("nan")
    line: Mapping[str, float] | None = None  # a new line of the log
    what: str = "training"
    alarms: Sequence[str] = ()  # what the method finds wrong, one line each


Watch = Callable[[Progress], None]


def train(
    recipe: Path | Mapping[str, Any],
    data: Path,
    out: Path,
    *,
    sets: Sequence[str] = (),
    resume: bool = False,
    device: str | None = None,
    track: Sequence[str] = (),
    watch: Watch = lambda progress: None,
) -> Path:
    """Train and evaluate; return the run folder.

    `resume` continues an unfinished run of the same recipe, and returns a finished one as it is. Of the
    processes that torchrun starts, the first one alone writes, evaluates and returns; the others leave
    (SystemExit) once the model has learned. Raises ValueError for what a user can mend.
    """
    made = recipes.load(recipe, sets) if isinstance(recipe, Path) else recipes.edited(recipe, sets)
    keep_freed_memory()
    device = device or best_device()
    with joined(device) as processes:
        with processes.agreed():
            job = assemble(plan(made, open_store(data)), device, processes)
            trackers = [tracker(name) for name in track] if processes.first else []
            refuse_probe(job)  # before there is a folder
            finished = processes.first and claim(out, job, resume)
        finished = processes.any(finished)
        if not finished:
            with resumable(out):
                learn(Training(job, out, Log(out, [start(out) for start in trackers]), watch))
    if not processes.first:
        sys.exit()
    if not finished:
        with resumable(out):
            watch(Progress(job.learner.schedule.steps, job.learner.schedule.steps, what="evaluating"))
            finish(job, out)
    return out


def refuse_probe(job: Job) -> None:
    """Refuse a solver that has nothing to do with what the recipe, or several processes, would learn."""
    if job.learner.schedule.solver == "adamw":
        return
    only_probe(job)
    if job.processes.count > 1 and job.learner.schedule.solver == "probe":
        raise ValueError("[train] solver = 'probe' fits in one process: start it without torchrun.")


@contextmanager
def resumable(out: Path) -> Iterator[None]:
    """Say how a stopped run goes on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(f"Stopped. The same command with --resume goes on from {out}.") from stop


def claim(out: Path, job: Job, resume: bool) -> bool:
    """Make or take up a run folder; say whether it holds a finished run of this recipe on this store."""
    saved, text = out / "recipe.toml", recipes.written(job.plan.recipe)
    if not saved.exists():
        ours = ("environment.json", PATIENTS)
        if out.is_dir() and any(file.name not in ours for file in out.iterdir()):
            raise ValueError(f"{out} is not empty and holds no run: choose another --out.")
        with one_line(out):
            out.mkdir(parents=True, exist_ok=True)
        write_json(out / "environment.json", environment(job))
        write_patients(out, job.plan.store, job.plan.split, job.plan.held)
        write_text(saved, text)
        return False
    finished = (out / "results.json").exists()
    if not resume:
        how = "is finished" if finished else "is not finished (--resume goes on)"
        raise ValueError(f"{out} holds a run that {how}: choose another --out, or remove it.")
    if saved.read_text(encoding="utf-8") != text:
        raise ValueError(f"{saved} is another recipe than this one: choose another --out, or remove {out}.")
    begun = read_json(out / "environment.json", "store", "fingerprint")
    if begun != job.plan.store.fingerprint:
        raise ValueError(
            f"{out} was begun on another store than {job.plan.store.path}: choose another --out."
        )
    return finished


@dataclass
class Training:
    """A job on its way into a run folder."""

    job: Job
    out: Path
    log: Log
    watch: Watch
    losses: dict[str, list[Tensor]] = field(default_factory=dict)
    waited: float = 0.0
    records: int = 0
    best: dict[str, float] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """Steps in an epoch."""
        return self.job.loader.sampler.steps

    @property
    def line(self) -> int:
        """Steps from a line of the log to the next."""
        return rhythm(self.job.learner.schedule, self.epoch)[0]

    def batches(self, start: int) -> Iterator[Batch]:
        """Stream batches, and note how long each was waited for."""
        stream = self.job.loader.stream(start)
        while True:
            before = time.perf_counter()
            batch = next(stream)
            self.waited += time.perf_counter() - before
            self.records += len(batch.row) * self.job.processes.count
            yield batch

    def noted(self, start: int) -> Iterable[tuple[int, float]]:
        """Learn step by step; yield (steps done, seconds since the last line of the log)."""
        job = self.job
        began = self.restart()
        logs = fit(
            job.method,
            job.learner,
            self.batches(start),
            seed=job.plan.seed,
            start=start,
            parts=job.loader.mine,
            prepare=lambda batch: job.augment(batch.to(job.device)),
            wrap=lambda method: job.processes.wrap(method, job.learner.schedule.accumulate),
        )
        for done, log in enumerate(logs, start + 1):
            for name, value in log.items():
                self.losses.setdefault(name, []).append(value)
            yield done, time.perf_counter() - began
            if done % self.line == 0:
                began = self.restart()

    def restart(self) -> float:
        """Start the clock of a new line of the log."""
        self.waited, self.records = 0.0, 0
        self.losses.clear()
        return time.perf_counter()


def solve(training: Training) -> dict[str, float]:
    """Fit a probe on features, and return a line of log."""

    def watch(done: int, total: int) -> None:
        if training.job.processes.first:
            training.watch(Progress(done, total, what="reading features"))

    return fit_probe(training.job, watch)


def solve_alone(training: Training) -> None:
    """Fit a probe, with one line of log, and save it."""
    told = solve(training)
    training.log.tell(told | {"validation_loss": validation_logs(training.job)["validation_loss"]})
    save_weights(training.job.method, training.out / "weights.safetensors")


def solve_first(training: Training) -> None:
    """Fit the probe that all learn from; every process does, to the same weights, and one tells."""
    told = solve(training)
    training.job.learner.average.restart()
    if training.job.processes.first:
        training.log.tell(told | validate(training, 0))


def learn(training: Training) -> None:
    """Fit, with a line of log and a resume point every epoch, and save the weights that answer."""
    job, out, schedule = training.job, training.out, training.job.learner.schedule
    if (out / "weights.safetensors").exists():
        return load_weights(job.method, out / "weights.safetensors")
    if schedule.solver == "probe":
        return solve_alone(training)
    processes, line = job.processes, training.line
    with processes.agreed():
        start = begin(training)
    for done, seconds in training.noted(start):
        if done % line and done != schedule.steps:
            if done % 5 == 0 and processes.first:
                show(training, done, seconds)
            continue
        with processes.agreed():
            end_line(training, done, seconds)
    if processes.first:
        keep(training)


def begin(training: Training) -> int:
    """Take up the latest resume point, if there is one; return the steps done."""
    job, folder, count = training.job, training.out / "resume", training.job.processes.count
    if not steps_saved(folder):
        if job.learner.schedule.solver == "probe-first":
            solve_first(training)
        return 0
    told = load_resume(folder, job.method, job.learner)
    if (was := told.get("processes", 1)) != count:
        raise ValueError(
            f"{training.out} was begun by {was} processes, which learn from more or fewer records in a step "
            f"than {count}: go on with torchrun --nproc-per-node {was}."
        )
    training.best = told["best"]
    training.log.resume(told["step"])
    return int(told["step"])


def end_line(training: Training, done: int, seconds: float) -> None:
    """Sum up a line of the log; the first process validates, tells and saves a resume point."""
    job, schedule = training.job, training.job.learner.schedule
    told = log_line(training, done, seconds)
    if not job.processes.first:
        return
    if done == schedule.steps or done % rhythm(schedule, training.epoch)[1] == 0:
        found = validate(training, done)
        told |= {f"validation_{name}" if name in told else name: value for name, value in found.items()}
    training.log.tell(told)
    alarms = job.method.alarms(told) if done > training.line else ()  # the first line is too early to judge
    rate = told["records_per_second"]
    training.watch(Progress(done, schedule.steps, told["loss"], rate, told, alarms=alarms))
    kept = {"best": training.best, "processes": job.processes.count}
    save_resume(training.out / "resume", done, job.method, job.learner, kept)


def rhythm(schedule: Schedule, epoch: int) -> tuple[int, int]:
    """Return the steps from a line of the log to the next, and from a validation to the next.

    A line is an epoch, or as many as make fifty lines or so; a run shorter than an epoch has ten. There are
    ten validations, unless the recipe says after how many epochs.
    """
    epochs = schedule.steps / epoch
    line = epoch * max(1, round(epochs / 50)) if epochs >= 1 else max(1, schedule.steps // 10)
    wished = epoch * schedule.validate or schedule.steps / 10
    return line, line * max(1, round(wished / line))


def show(training: Training, done: int, seconds: float) -> None:
    """Tell the watcher about one step."""
    loss = float(training.losses["loss"][-1])
    rate = training.records / max(seconds, 1e-9)
    training.watch(Progress(done, training.job.learner.schedule.steps, loss, rate))


def log_line(training: Training, done: int, seconds: float) -> dict[str, float]:
    """Sum up the steps since the last line."""
    here = {name: float(torch.stack(values).mean()) for name, values in training.losses.items()}
    means = training.job.processes.mean(here)
    if not math.isfinite(means["loss"]):
        loss = means["loss"]
        raise ValueError(
            f"Training diverged before step {done} (loss {loss}): lower [train] lr, or set clip = 1."
        )
    return {
        "epoch": done / training.epoch,
        "step": done,
        "lr": max(group["lr"] for group in training.job.learner.adamw.param_groups),
        "seconds": seconds,
        "records_per_second": training.records / max(seconds, 1e-9),
        "waiting": training.waited / max(seconds, 1e-9),
    } | means


def validate(training: Training, done: int) -> dict[str, float]:
    """Score the validation split with the averaged weights, and remember the best so far."""
    job, average = training.job, training.job.learner.average
    average.swap()
    told = validation_logs(job)
    if job.answers and job.plan.task.kind in ("labels", "multiclass"):
        told["validation_auroc"] = validation_auroc(job)
    criterion = {"best-loss": -told["validation_loss"], "best-auroc": told.get("validation_auroc")}
    score = criterion.get(job.learner.schedule.keep)
    if score is not None and score > training.best.get("score", -np.inf):
        (training.out / "resume").mkdir(exist_ok=True)
        save_weights(job.method, training.out / "resume" / "best.safetensors")
        training.best = {"score": score, "step": done}
    average.swap()
    return told


def validation_logs(job: Job) -> dict[str, float]:
    """Return the mean loss over the middle window of each validation record, and what else a method watches.

    Batches are as in training; records of a patient stand together. Where augmentation makes the views that
    a loss compares, it does so here, too, the same each time.
    """
    reader, rows = job.loader.reader, job.plan.split.validation
    rows = rows[np.argsort(reader.patients[rows], kind="stable")]
    first, end = reader.spans(rows)
    starts = first + np.maximum(end - first - job.loader.window, 0) // 2
    total, seen = dict[str, float](), dict[str, int]()
    size = job.learner.schedule.batch
    job.method.eval()
    torch.manual_seed(seed_of(job.plan.seed, 0))
    for begin in range(0, len(rows), size):
        part = slice(begin, begin + size)
        batch = reader.batch(rows[part], starts[part], job.loader.window).to(job.device)
        with torch.no_grad(), autocast(job.device, job.learner.schedule.precision):
            batch = job.augment(batch) if job.makes_views else batch
            for name, value in job.method(batch).items():
                total[name] = total.get(name, 0.0) + float(value) * len(rows[part])
                seen[name] = seen.get(name, 0) + len(rows[part])
    mean = {name: value / seen[name] for name, value in total.items() if name[:5] != "loss/"}
    return {"validation_loss": mean.pop("loss")} | mean


def validation_auroc(job: Job) -> float:
    """Return the macro AUROC of the validation split."""
    rows, planned = job.plan.split.validation, job.plan
    precision = job.learner.schedule.precision
    scores = answers(
        job.method, planned.windows(), rows, planned.task, pool=planned.pool, precision=precision
    )
    return float(macro_auroc(planned.truth[rows], scores))


def keep(training: Training) -> None:
    """Save the weights that answer from now on: the average, or the best on validation."""
    job, best = training.job, training.out / "resume" / "best.safetensors"
    job.learner.average.swap()
    if job.learner.schedule.keep != "last":
        load_weights(job.method, best)
    save_weights(job.method, training.out / "weights.safetensors")
