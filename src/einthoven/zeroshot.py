"""Judge a run that read reports, without any label: on a task by prompts, and by who finds whose report.

Of the store only test records are looked at, and nothing is chosen on them: no label, threshold or prompt.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from einthoven import recipe as recipes
from einthoven.data.loader import Progress, Reader, Windows, counted, unheard
from einthoven.data.store import Store
from einthoven.embedding import Asked, Found, Options, planned_for, told_of, untrained
from einthoven.evaluate.embed import features
from einthoven.evaluate.figures import clean
from einthoven.evaluate.jobs import Finding, Folds, Judge, Judged, Row, mean_of, rows
from einthoven.evaluate.nearest import Vectors
from einthoven.evaluate.retrieve import RECALLS, Retrieved, mean_score
from einthoven.evaluate.zeroshot import find_reports, sensitivity, tells_apart, zeroshot
from einthoven.language.normalise import normalise
from einthoven.language.prompts import Prompt, prompts
from einthoven.language.views import seen
from einthoven.plan import Plan
from einthoven.policy import policy_of, reports_of
from einthoven.predict import load
from einthoven.types import Method

JOB = "zero-shot"


@runtime_checkable
class Reads(Protocol):
    """A method that places texts among its ECGs."""

    def read(self, texts: Sequence[str]) -> Tensor:
        """Return a vector per text."""


class Network(NamedTuple):
    """A network, and where it places the test ECGs."""

    method: Method
    ecg: Float[np.ndarray, "record size"]


class Reports(NamedTuple):
    """The different reports of the test records that have one."""

    texts: tuple[str, ...]
    rows: Int[np.ndarray, " ecg"]  # of the test records: those with a report
    own: Int[np.ndarray, " ecg"]  # which of the texts each has
    patient: Shaped[np.ndarray, " ecg"]


def judge_zeroshot(
    run: Path, store: Store, asked: Asked, how: Options, *, trust: bool = False, progress: Progress = unheard
) -> Found:
    """Score test records by prompts, and let them and their reports find each other; all {value, low, high}.

    Reports are those of the run's recipe, as its [text] view shows them.
    """
    began, model = time.perf_counter(), load(run, trust=trust)
    bank, language = (Path(how.prompts) if how.prompts else None), how.language or None
    if not isinstance(model.method, Reads):
        raise ValueError(f"{run} reads no prompts: train one with [method] name = 'dual' or 'concepts'.")
    planned = planned_for(model, store, asked.task)
    if planned.task.kind == "regression":
        raise ValueError("Prompts say what is there, not how much: ask for a threshold, as in 'age > 60'.")
    said = asked_of(bank, planned.task.labels, language)
    methods, test = [model.method, *([untrained(model)] if how.untrained else [])], planned.split.test
    told = counted(progress, len(test) * len(methods))
    windows = Windows(Reader(planned.store, planned.wants), model.stride, told)
    networks = [Network(each, features(each, windows, test, which="embedding")) for each in methods]
    folds = folds_of(planned, tuple(said), networks[0].ecg)
    judge = Judge(planned.task.kind, tuple(said), how)
    prompted = [by_prompts(judge, folds, network, said) for network in networks]
    left = skipped(prompted[0], planned.task.labels, run)
    table, about = compared(prompted, folds.test.patient, how), dict(prompted[0].about)
    texts = read_by(run, planned)
    if texts.texts:
        found = [by_reports(network, texts) for network in networks]
        for side, patient in enumerate((texts.patient, np.arange(len(texts.texts)))):
            table += compared([each[side] for each in found], patient, how)
            about |= found[0][side].about
    figures = told_of(run, store, asked, how, planned, folds) | {"what": "zeroshot", "which": "embedding"}
    figures |= {"rows": table, "about": about, "skipped": left}
    figures["prompts"] = {
        "file": None if bank is None else str(bank),
        "version": prompts(bank).version,
        "language": language,
        "labels": {label: prompt._asdict() for label, prompt in said.items()},
    }
    whole = Vectors(networks[0].ecg, planned.truth[test].astype(np.float64), folds.test.patient)
    return Found(figures | {"seconds": round(time.perf_counter() - began, 2)}, whole)


def asked_of(bank: Path | None, labels: Sequence[str], language: str | None) -> dict[str, Prompt]:
    """Return the prompts of the labels that have any."""
    known = prompts(bank)
    said = {label: known.of(label, language) for label in labels if label in known.classes}
    if not said:
        raise ValueError(
            f"No prompt for {', '.join(labels[:5])} in {bank or 'our prompts'}: they are for "
            f"{', '.join(known.classes[:8])} ...; say --set prompts=FILE with your own."
        )
    return said


def folds_of(planned: Plan, labels: Sequence[str], ecg: Float[np.ndarray, "record size"]) -> Folds:
    """Return the test records with their vectors, beside the others, which are counted and not looked at."""
    patient = planned.store.records["patient_id"].to_numpy(dtype=object).astype(str)
    columns = [planned.task.labels.index(label) for label in labels]
    train, validation, test = (
        Vectors(np.zeros((len(some), 0)), planned.truth[some][:, columns].astype(np.float64), patient[some])
        for some in planned.split.named().values()
    )
    return Folds(train, validation, Vectors(ecg, test.truth, test.patient))


def by_prompts(judge: Judge, folds: Folds, network: Network, said: Mapping[str, Prompt]) -> Judged:
    """Score the test records by prompts; a label that has the same score for all of them has no figure."""
    positive = read(network.method, [prompt.positive for prompt in said.values()])
    negative = read(network.method, [prompt.negative for prompt in said.values()])
    score = zeroshot(network.ecg, positive, negative)
    truth = np.where(tells_apart(score), folds.test.truth, np.nan)
    silent = [label for label, tells in zip(said, tells_apart(score), strict=True) if not tells]
    spread = sensitivity(network.ecg, positive, negative, folds.test.truth)
    told = {
        label: {
            "mean": clean(spread.mean[place]),
            "sd": clean(spread.sd[place]),
            "least": clean(spread.least[place]),
            "most": clean(spread.most[place]),
            "prompts": dict(zip(prompt.positive, map(clean, spread.auroc[place]), strict=True)),
        }
        for place, (label, prompt) in enumerate(said.items())
    }
    known = folds._replace(test=Vectors(network.ecg, truth, folds.test.patient))
    return judge.answered(JOB, known, score, {"prompt_sensitivity": told, "silent": silent})


def read(method: Method, several: Sequence[Sequence[str]]) -> list[Float[np.ndarray, "_ size"]]:
    """Read lists of texts, each as a report is read: cleaned; one array for each list."""
    assert isinstance(method, Reads)
    texts = [normalise(text) for some in several for text in some]
    method.eval()
    with torch.no_grad():
        vectors = np.asarray(method.read(texts).float().cpu(), np.float64)
    return np.split(vectors, np.cumsum([len(some) for some in several])[:-1])


def read_by(run: Path, planned: Plan) -> Reports:
    """Return the different reports of the test records, as the run reads them."""
    test, policy = planned.split.test, policy_of(recipes.load(run / "recipe.toml"))
    records = reports_of(planned.store, policy.column).iloc[test]
    texts = seen(records, policy.view or "none", policy.hidden)
    has = np.array([place for place, text in enumerate(texts) if text], dtype=np.int64)
    number = {text: place for place, text in enumerate(dict.fromkeys(texts[i] for i in has))}
    own = np.array([number[texts[i]] for i in has], dtype=np.int64)
    patient = records["patient_id"].to_numpy(dtype=object).astype(str)[has]
    return Reports(tuple(number), has, own, patient)


def by_reports(network: Network, reports: Reports) -> tuple[Judged, Judged]:
    """Let ECGs find reports, and reports ECGs."""
    (vectors,) = read(network.method, [reports.texts])
    ecg = network.ecg[reports.rows]
    found = find_reports(ecg, vectors, reports.own)
    chance = find_reports(np.zeros_like(ecg), np.zeros_like(vectors), reports.own)
    size = {"ecgs": len(ecg), "reports": len(vectors)}
    return (
        recalled("find its report", found.report, chance.report, size),
        recalled("find its ECG", found.ecg, chance.ecg, size),
    )


def recalled(job: str, found: Retrieved, chance: Retrieved, about: Row) -> Judged:
    """Return Recall@k of one direction, with the recall of an embedding that is one point."""
    none = np.zeros(len(found.recall))
    findings = [
        Finding(
            job, f"recall_at_{k}", mean_score, none, found.recall[:, place], mean_of(chance.recall[:, place])
        )
        for place, k in enumerate(RECALLS)
    ]
    return Judged(findings, [], {job: about})


def compared(judged: Sequence[Judged], patient: Shaped[np.ndarray, " record"], how: Options) -> list[Row]:
    """Return the rows of a network, beside those of random weights where there are some."""
    mine, *other = judged
    return rows(mine, other[0] if other else None, patient, how)


def skipped(judged: Judged, labels: Sequence[str], run: Path) -> dict[str, str]:
    """Say which labels have no figure; refuse a run that has none at all."""
    about: dict[str, Any] = judged.about[JOB]
    silent, prompted = about["silent"], about["prompt_sensitivity"]
    if len(silent) == len(prompted):
        raise ValueError(f"{run} says the same of every ECG, whatever the prompt: it has learned no report.")
    told = {f"{JOB} of {label}": "the same score for every ECG" for label in silent}
    lacking = [label for label in labels if label not in prompted]
    return told | ({f"{JOB} of {', '.join(lacking)}": "no prompts"} if lacking else {})
