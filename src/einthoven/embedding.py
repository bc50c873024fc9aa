"""Judge the embeddings of a finished run on a task, with the preprocessing and the split of its training.

The task may be another than the run was trained for; a run that learned without labels has none of its own.
"""

import re
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from einthoven import recipe as recipes
from einthoven.assemble import fill_fitted, network
from einthoven.data.loader import Progress, Reader, Windows, counted, unheard
from einthoven.data.split import NAMES
from einthoven.data.store import Store
from einthoven.data.task import BINARY, is_list, listed, numbers, own_name, spell
from einthoven.evaluate.embed import features
from einthoven.evaluate.jobs import JOBS, Folds, How, Judge, Row, rows, splits_of
from einthoven.evaluate.nearest import Vectors
from einthoven.parts import hint
from einthoven.plan import Plan, plan
from einthoven.predict import Model, load, refuse_read
from einthoven.results import task_told
from einthoven.types import Method

QUESTIONS = (
    "all",
    *JOBS,
    "leads",
    "zeroshot",
)  # the last two: in `reduced` and `zeroshot`, never part of all
THRESHOLD = re.compile(r"(.+?)\s*(>=|>)\s*([^\s>=]+)")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked of a run: `what` of QUESTIONS, on which `task` (None: its own), of `which` output."""

    what: str = "all"
    task: str | None = None
    which: str = "features"

    def __post_init__(self) -> None:
        if self.what not in QUESTIONS:
            raise ValueError(
                f"No evaluation {self.what!r}. Known: {', '.join(QUESTIONS)}.{hint(self.what, QUESTIONS)}"
            )


@dataclass(frozen=True, kw_only=True)
class Options(How):
    """How to judge, whether to judge the same network with random weights, too, and how the map is drawn.

    `leads` are the sets of leads that evaluation "leads" picks by name, as in "limb,I+II,II"; `derive` says
    whether I and II give the other limb leads there, as they do in an import. `prompts` is a file of prompts
    for "zeroshot" ("": ours), `language` one of its languages ("": all together).
    """

    untrained: bool = True
    map: Literal["pca", "umap"] = "pca"
    leads: str = "limb,I+II,II,I"
    derive: bool = True
    prompts: str = ""
    language: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "leads", self.leads.replace(" ", ""))  # it stands in a file's name


class Found(NamedTuple):
    """The figures, as they are written, and the test records that they are of."""

    figures: dict[str, Any]
    test: Vectors


def judge_embeddings(
    run: Path, store: Store, asked: Asked, how: Options, *, trust: bool = False, progress: Progress = unheard
) -> Found:
    """Embed the splits that are asked of, and judge; every figure is {value, low, high}."""
    began = time.perf_counter()
    model = load(run, trust=trust)
    planned = planned_for(model, store, asked.task)
    judge = Judge(planned.task.kind, planned.task.labels, how)
    splits = splits_of(asked.what)
    told = counted(progress, many(planned, splits) * (1 + how.untrained))
    windows = Windows(Reader(planned.store, planned.wants), model.stride, told)
    mine = embedded(model.method, windows, planned, asked.which, splits)
    other = embedded(untrained(model), windows, planned, asked.which, splits) if how.untrained else None
    unfit = {job: judge.unfit(job, mine) for job in JOBS}
    if asked.what != "all" and unfit[asked.what]:
        raise ValueError(f"{asked.what} on {planned.task.name!r}: {unfit[asked.what]}.")
    table: list[Row] = []
    about: Row = {}
    for job in JOBS if asked.what == "all" else (asked.what,):
        if not unfit[job]:
            done = judge.judge(job, mine)
            table += rows(done, judge.judge(job, other) if other else None, mine.test.patient, how)
            about |= done.about
    figures = told_of(run, store, asked, how, planned, mine)
    figures |= {"rows": table, "about": about}
    figures["skipped"] = {job: why for job, why in unfit.items() if why and asked.what == "all"}
    return Found(figures | {"seconds": round(time.perf_counter() - began, 2)}, mine.test)


def told_of(
    run: Path, store: Store, asked: Asked, how: Options, planned: Plan, folds: Folds
) -> dict[str, Any]:
    """Say what was judged, on which records and how."""
    figures = {"format": 1, "run": run.name, "what": asked.what, "which": asked.which}
    figures |= {"dim": folds.test.vector.shape[1], "how": asdict(how), "task": task_told(planned)}
    figures |= {"store": {k: getattr(store, k) for k in ("title", "source", "synthetic", "fingerprint")}}
    return figures | {"split": planned.split.by, "counts": counts(folds), "left_out": planned.left_out}


def planned_for(model: Model, store: Store, asked: str | None) -> Plan:
    """Plan the task on the store, and keep every patient on the side where the training had them."""
    told = recipes.load(model.run / "recipe.toml")
    table = told.get("task") if asked is None else table_of(asked, store)
    if table is None:
        raise ValueError(
            f"{model.run} learned without labels: say --task. Tasks of {store.path}: {listed(store.tasks)}; "
            "a column of the store is one, too."
        )
    clean = {key: value for key, value in table.items() if key != "flip"}  # truth is judged as it is
    for part in ("fusion", "text"):  # features are of ECGs: no text is an input, so that none can leak
        told.pop(part, None)
    return plan(told | {"task": clean}, store, [model.run])


def table_of(asked: str, store: Store) -> dict[str, Any]:
    """Read --task: a task of the store, a column (of numbers: regressed), or 'column > number'."""
    name = own_name(asked.strip(), store)
    match = THRESHOLD.fullmatch(name)
    if match and name not in store.records:
        try:
            number = float(match[3])
        except ValueError:
            raise ValueError(f"--task {asked!r}: {match[3]!r} is no number; say 'column > number'.") from None
        return {"column": own_name(match[1], store), {">": "above", ">=": "least"}[match[2]]: number}
    if name in store.tasks or name not in store.records:
        return {"name": asked}
    values = store.records[name]
    if is_list(values) or np.isnan(numbers(values)).all():
        return {"column": name}
    binary = {word for word in map(spell, values) if word is not None} <= set(BINARY)
    return {"column": name} | ({} if binary else {"kind": "regression"})


def untrained(model: Model) -> Method:
    """Build the network of a run again, with random weights."""
    told = recipes.fresh(recipes.load(model.run / "recipe.toml"))
    made, _ = network(told, model.wants, len(model.labels), told.get("seed", 0))
    fill_fitted(made, model.method)
    return made.to(next(model.method.parameters()).device)


def many(planned: Plan, splits: Collection[str] = NAMES) -> int:
    """Count the records of some splits."""
    return sum(len(some) for name, some in planned.split.named().items() if name in splits)


def embedded(
    method: Method, windows: Windows, planned: Plan, which: str, splits: Collection[str] = NAMES
) -> Folds:
    """Embed the records of some splits: the mean of a named output over the windows of each.

    Records of the others are there, to be counted, with vectors of no numbers.
    """
    refuse_read(which)
    patient = planned.store.records["patient_id"].to_numpy(dtype=object).astype(str)
    made = []
    for name, some in planned.split.named().items():
        vector = np.zeros((len(some), 0), np.float32)
        if name in splits:
            vector = features(method, windows, some, which=which)
        made.append(Vectors(vector, planned.truth[some].astype(np.float64), patient[some]))
    return Folds(*made)


def counts(folds: Folds) -> dict[str, dict[str, int]]:
    """Count records and patients of each split."""
    return {
        name: {"records": len(fold.patient), "patients": len(np.unique(fold.patient))}
        for name, fold in zip(NAMES, folds, strict=True)
    }
