"""What a report adds to an ECG: each alone, both, both with the report of another, and with none at all."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from einthoven.assemble import Job
from einthoven.audit.learn import from_text
from einthoven.data.files import new_file
from einthoven.evaluate import Answers, bootstrap, macro_auroc, macro_of, paired, rmse
from einthoven.evaluate.bootstrap import Interval
from einthoven.evaluate.embed import answers
from einthoven.evaluate.figures import Number, figure
from einthoven.evaluate.rows import Folds, Rows
from einthoven.honest import cohort
from einthoven.language.reading import read_report
from einthoven.plan import Plan
from einthoven.policy import gives_away, policy_of, reports_of

ECG, TEXT, WORDS, BOTH = "ECG alone", "text alone", "text alone, n-grams", "both"
SHUFFLED, WITHHELD, AVERAGE = "both, another's text", "both, text withheld", "average of the two"
CONTEXT, NOBODY = "age + sex", "prevalence"
ALONE = (ECG, TEXT, WORDS)  # what both must beat
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the test reports that are missing
GROUP = "in group "  # how the columns of groups begin
FEWEST = 30  # records of which a group is judged
LANGUAGES = {"de": "German", "en": "English", "sv": "Swedish", "unknown": "of no known language"}
Scores = Float[np.ndarray, "record label"]
Told = dict[str, Answers]
Some = Bool[np.ndarray, " record"] | slice


class Said(NamedTuple):
    """One answer to the test records, and what it is made of."""

    name: str
    what: str
    score: Scores


class Judge:
    """Scores answers to the test records, all on the same resampled patients."""

    def __init__(self, planned: Plan, test: Answers):
        self.test, self.resamples = test, planned.judging.resamples
        regression = planned.task.kind == "regression"
        self.name = "rmse" if regression else "auroc"
        self.metric = macro_of(rmse) if regression else macro_auroc
        self.sign = -1 if regression else 1

    def score(self, score: Scores, some: Some = slice(None)) -> dict[str, Number]:
        """Return one figure with its interval."""
        patient = self.test.patient[some]
        found: Interval = bootstrap(self.metric, self.test.truth[some], score[some], patient, self.resamples)
        return figure(found)

    def gain(self, over: Scores, mine: Scores, some: Some = slice(None)) -> dict[str, Number]:
        """Return how much more one answer scores than another, paired."""
        patient = self.test.patient[some]
        pair = (self.test.truth[some], over[some], mine[some], patient)
        return figure(paired(self.metric, *pair, resamples=self.resamples).difference)

    def best(self, said: Mapping[str, Said], names: Sequence[str]) -> str:
        """Return which of some answers scores best on these records: the hardest one to beat."""
        worth = {name: self.sign * float(self.metric(self.test.truth, said[name].score)) for name in names}
        return max(worth, key=lambda name: worth[name])


def reports_told(job: Job, told: Told, out: Path) -> dict[str, Any]:
    """Judge what reports add, and write every answer to `reports.parquet`; the test split only measures."""
    planned = job.plan
    assert planned.texts is not None
    test, judge = told["test"], Judge(planned, told["test"])
    said = {one.name: one for one in all_said(job, told)}
    write_reports(planned, test, said, out / "reports.parquet")
    over = judge.best(said, ALONE)
    fused = said[BOTH].score
    return {
        "view": policy_of(planned.recipe).view,
        "leaky": gives_away(planned.leak, policy_of(planned.recipe).view),
        "judged": planned.leak is None or planned.leak.word != "cannot be judged",
        "why": planned.leak.why if planned.leak else "",
        "answers": [
            {"name": s.name, "what": s.what, judge.name: judge.score(s.score)} for s in said.values()
        ],
        "gain": {"over": over} | judge.gain(said[over].score, fused),
        "gain_ecg": {"over": ECG} | judge.gain(said[ECG].score, fused),
        "groups": [judged(judge, said, name, some) for name, some in groups(planned).items()],
        "missing": missing(planned, judge, said),
    }


def all_said(job: Job, told: Told) -> Iterator[Said]:
    """Answer the test records in every way that tells apart what the report does."""
    planned, rows, texts = job.plan, job.plan.split.test, job.plan.texts or ()
    reader, fusion = planned.recipe["text"]["name"], planned.recipe["fusion"]["name"]
    folds = Folds(*(cohort(planned, some) for some in planned.split.named().values()))
    kind = planned.task.kind
    assert kind != "unlabelled"
    maker = Rows(folds, kind=kind)
    nobody, worded = maker.prevalence().score, np.array([bool(texts[row]) for row in rows])[:, None]
    # Heads on a report have never learned from none: who has none is told what holds for everybody.
    alone, read = told["test"].score, np.where(worded, answered(job, rows, "text", texts), nobody)
    yield Said(ECG, "the ECG's own heads: what `predict` says", alone)
    yield Said(TEXT, f"the heads on the report alone, read by {reader}", read)
    yield Said(WORDS, "n-grams of the report, then a linear model", from_words(planned))
    yield Said(BOTH, f"ECG and report, fused by {fusion}", answered(job, rows, "fused", texts))
    other = shuffled(texts, rows, planned.seed)
    yield Said(SHUFFLED, "the same, each with the report of another", answered(job, rows, "fused", other))
    none = answered(job, rows, "fused", [""] * len(texts))
    yield Said(WITHHELD, "the same, without any report", none)
    average = np.where(worded, averaged(planned, alone, read), alone)
    yield Said(AVERAGE, "ECG alone and text alone, averaged", average)
    yield Said(CONTEXT, "a linear model of age and sex: no ECG, no report", maker.age_sex().score)
    yield Said(NOBODY, "the same for everybody", nobody)


def answered(job: Job, rows: Int[np.ndarray, " record"], who: str, texts: Sequence[str]) -> Scores:
    """Let the heads on the text, or on both, answer some records, given these texts for the whole store."""
    planned, windows = job.plan, job.plan.windows()
    windows = replace(windows, reader=replace(windows.reader, texts=texts))
    return answers(job.method, windows, rows, planned.task, pool=planned.pool, which=f"{who}/logits")


def from_words(planned: Plan) -> Scores:
    """Answer from the n-grams of a report, as the audit does."""
    folds, texts = planned.split.named().values(), planned.texts or ()
    words = [[texts[row] for row in some] for some in folds]
    return from_text(words, [planned.truth[some].astype(np.float64) for some in folds], planned.task.kind)


def shuffled(texts: Sequence[str], rows: Int[np.ndarray, " record"], seed: int) -> list[str]:
    """Give each of some records that has a report the report of another one of them."""
    have, made = [int(row) for row in rows if texts[row]], list(texts)
    order = np.random.default_rng(seed).permutation(len(have))
    for place, other in zip(order, np.roll(order, 1), strict=True):  # a ring: nobody keeps the own one
        made[have[place]] = texts[have[other]]
    return made


def averaged(planned: Plan, a: Scores, b: Scores) -> Scores:
    """Average two answers: numbers as they are, probabilities as logits."""
    if planned.task.kind == "regression":
        return np.asarray((a + b) / 2)
    odds = [np.log(np.clip(p, 1e-7, 1 - 1e-7)) - np.log1p(-np.clip(p, 1e-7, 1 - 1e-7)) for p in (a, b)]
    return np.asarray(1 / (1 + np.exp(-(odds[0] + odds[1]) / 2)))


def groups(planned: Plan) -> dict[str, Bool[np.ndarray, " record"]]:
    """Tell test records apart: by language, and those whose very report does not stand in training."""
    rows, texts = planned.split.test, planned.texts or ()
    column = policy_of(planned.recipe).column
    raw = [read_report(report) for report in reports_of(planned.store, column)["report"].iloc[rows]]
    spoken = np.array([report.language if report.status == "ok" else "" for report in raw], dtype=object)
    known = {texts[row] for row in planned.split.train}
    here = {f"reports {name}": spoken == code for code, name in LANGUAGES.items()}
    here["reports not found in training"] = np.array(
        [bool(texts[row]) and texts[row] not in known for row in rows], dtype=bool
    )
    here["without a report"] = np.array([not texts[row] for row in rows], dtype=bool)
    return {name: some for name, some in here.items() if some.sum() >= FEWEST}


def judged(
    judge: Judge, said: Mapping[str, Said], name: str, some: Bool[np.ndarray, " record"]
) -> dict[str, Any]:
    """Judge some test records: each alone, both, and the gain over the better one of the whole split."""
    told: dict[str, Any] = {"name": name, "records": int(some.sum())}
    for key, who in {"ecg": ECG, "text": judge.best(said, (TEXT, WORDS)), "both": BOTH}.items():
        told[key] = judge.score(said[who].score, some)
    over = said[judge.best(said, ALONE)].score
    return told | {"gain": judge.gain(over, said[BOTH].score, some)}


def order_of(planned: Plan) -> Int[np.ndarray, " record"]:
    """Draw in which order test records lose their reports."""
    return np.random.default_rng(planned.seed).permutation(len(planned.split.test))


def lacking(share: float, order: Int[np.ndarray, " record"], both: Scores, withheld: Scores) -> Scores:
    """Return the answers of both while a share of the reports is missing."""
    return np.where((order < round(share * len(order)))[:, None], withheld, both)


def missing(planned: Plan, judge: Judge, said: Mapping[str, Said]) -> list[dict[str, Any]]:
    """Judge both while more and more reports are missing; the last line has none."""
    order, both, none = order_of(planned), said[BOTH].score, said[WITHHELD].score
    return [{"share": share, judge.name: judge.score(lacking(share, order, both, none))} for share in SHARES]


def write_reports(planned: Plan, test: Answers, said: Mapping[str, Said], path: Path) -> None:
    """Write one line per test record with every answer and group, whole or not at all."""
    frame: dict[str, Any] = {"record_id": test.record, "patient_id": test.patient}
    frame |= {"missing": order_of(planned)}
    frame |= {f"{GROUP}{name}": some for name, some in groups(planned).items()}
    frame |= {f"truth/{label}": test.truth[:, i] for i, label in enumerate(test.labels)}
    for one in said.values():
        frame |= {f"{one.name}/{label}": one.score[:, i] for i, label in enumerate(test.labels)}
    with new_file(path) as file:
        held = BytesIO()
        pd.DataFrame(frame).to_parquet(held, index=False)
        file.write(held.getvalue())
