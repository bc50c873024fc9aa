"""Judge a run on fewer leads than it learned from: at use, with nothing trained again, and with a new probe.

Leads are picked by name; the others are absent, as in a file that lacks them: zeros for a network that reads
all leads at once, no tokens at all for one that relates pieces of leads (`vit`). Where I and II are there,
the other limb leads are computed, as they are for a file (`derive = false`: they are absent, too).
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from einthoven.data.loader import Progress, Reader, Windows, counted, unheard
from einthoven.data.signal import LIMB
from einthoven.data.store import Store
from einthoven.ecg import LEADS, Signal, lead_name
from einthoven.embedding import Asked, Found, Options, embedded, many, planned_for, told_of, untrained
from einthoven.evaluate.compare import paired
from einthoven.evaluate.embed import answers
from einthoven.evaluate.figures import figure
from einthoven.evaluate.jobs import Folds, Judge, Judged, Row, rows
from einthoven.evaluate.probe import logistic, ridge
from einthoven.plan import Plan, usual_pool
from einthoven.predict import Model, load
from einthoven.types import Batch, Method

ALL = "all leads"
GROUPS = {"limb": LEADS[:6], "chest": LEADS[6:]}
Leads = tuple[str, ...]
Scores = Float[np.ndarray, "record label"]
Views = Mapping[str, Folds]


@dataclass(frozen=True)
class Picked(Windows):
    """Windows that hold only some leads, by name."""

    keep: Leads = ()
    derived: Leads = ()

    def batches(self, rows: np.ndarray, size: int = 256) -> Iterator[tuple[np.ndarray, Batch]]:
        """Yield (place in `rows` of each window, windows)."""
        for place, batch in super().batches(rows, size):
            yield place, picked(batch, self.reader.wants.leads, self.keep, self.derived)


def picked(batch: Batch, names: Leads, keep: Leads, derived: Leads = ()) -> Batch:
    """Keep leads of a batch, and compute the derived; `names` are those of its ECGs, in order."""
    columns = [names.index(lead) for lead in keep]
    every = torch.tensor([LEADS.index(name) for name in names], device=batch.ecg.device)
    leads = every.expand(len(batch.row), -1) if batch.leads is None else batch.leads
    ecgs, named = [batch.ecg[:, columns]], [leads[:, columns]]
    if derived:
        pair = [names.index("I"), names.index("II")]
        both = (leads[:, pair] >= 0).all(1)
        shares = batch.ecg.new_tensor([LIMB[lead] for lead in derived])
        ecgs.append(torch.einsum("dp,bpt->bdt", shares, batch.ecg[:, pair]))
        places = torch.tensor([LEADS.index(lead) for lead in derived], device=leads.device)
        named.append(torch.where(both[:, None], places, -1))
    return replace(batch, ecg=torch.cat(ecgs, 1), leads=torch.cat(named, 1))


def computed(keep: Leads, wants: Signal) -> Leads:
    """List the limb leads that a model reads, that are not kept, and that I and II say.

    >>> computed(("II", "I", "aVF"), Signal()), computed(("II", "V1"), Signal())
    (('III', 'aVR', 'aVL'), ())
    """
    if not {"I", "II"} <= set(keep):
        return ()
    return tuple(lead for lead in LIMB if lead in wants.leads and lead not in keep)


def lead_sets(said: str, wants: Signal) -> dict[str, Leads]:
    """Read sets of leads, as in "limb,I+II,II"; a set of all that the model reads is there, first, anyway.

    >>> lead_sets("II, i+V1", Signal(leads=("I", "II", "V1")))
    {'all leads': ('I', 'II', 'V1'), 'II': ('II',), 'I+V1': ('I', 'V1')}
    """
    sets = {ALL: wants.leads}
    for text in said.split(","):
        words = [word.strip() for word in text.split("+")]
        names = [word if word in GROUPS else lead_name(word) or word for word in words]
        keep = dict.fromkeys(lead for name in names for lead in members(name, said, wants))
        if set(keep) != set(wants.leads):
            sets["+".join(names)] = tuple(keep)
    return sets


def members(name: str, said: str, wants: Signal) -> Leads:
    """Return the lead of a name, or those of a group that the model reads; refuse what it does not."""
    found = tuple(lead for lead in GROUPS.get(name, (name,)) if lead in wants.leads)
    if not found:
        raise ValueError(
            f"--set leads={said}: this model reads {', '.join(wants.leads)}, but not {name!r}; "
            f"say sets of those, as in leads=II,I+II ({' and '.join(GROUPS)} are six each)."
        )
    return found


def judge_leads(
    run: Path, store: Store, asked: Asked, how: Options, *, trust: bool = False, progress: Progress = unheard
) -> Found:
    """Judge a run with each set of leads; every figure is {value, low, high}, `against_all` the difference.

    Its own head answers where it learned the task. A linear probe of its features is fitted with all leads
    and then shown fewer (nothing is trained again), and fitted again with the fewer.
    """
    began, model = time.perf_counter(), load(run, trust=trust)
    planned = planned_for(model, store, asked.task)
    sets = lead_sets(how.leads, model.wants)
    planned = with_leads(planned, sets)
    judge = Judge(planned.task.kind, planned.task.labels, how)
    own, networks = is_own(model, planned), 1 + how.untrained
    records = many(planned) * networks + (many(planned, ["test"]) if own else 0)
    derived = {name: computed(keep, model.wants) if how.derive else () for name, keep in sets.items()}
    shown = windows_of(model, planned, sets, derived, counted(progress, records * len(sets)))
    mine = views(model.method, planned, shown, asked.which)
    other = views(untrained(model), planned, shown, asked.which) if how.untrained else None
    solve = ridge if planned.task.kind == "regression" else logistic
    table: list[Row] = []
    about: Row = {}
    if own:
        said = {name: own_answers(model, planned, windows) for name, windows in shown.items()}
        table += told_rows("own head", said, None, mine, judge, sets, about)
    for job, fitted in (("probe", shown_fewer), ("probe fitted again", fitted_again)):
        said = fitted(solve, mine)
        beside = fitted(solve, other) if other else None
        table += told_rows(job, said, beside, mine, judge, sets, about)
    figures = told_of(run, store, asked, how, planned, mine[ALL])
    figures |= {"leads": {name: list(keep) for name, keep in sets.items()}}
    figures |= {"derived": {name: list(some) for name, some in derived.items() if some}}
    figures |= {"rows": table, "about": about}
    return Found(figures | {"skipped": {}, "seconds": round(time.perf_counter() - began, 2)}, mine[ALL].test)


def with_leads(planned: Plan, sets: Mapping[str, Leads]) -> Plan:
    """Leave out, and count, records without any lead of some set: all sets are judged on the same records."""
    absent = Reader(planned.store, planned.wants).absent
    lost = np.array([any(set(keep) <= set(names.split()) for keep in sets.values()) for names in absent])
    split = planned.split.named()
    left = {"holds no lead of a set": int(sum(lost[some].sum() for some in split.values()))}
    kept_rows = {name: some[~lost[some]] for name, some in split.items()}
    if not all(map(len, kept_rows.values())):
        raise ValueError(f"No record of {planned.store.path} is left that holds a lead of each set.")
    return replace(planned, split=replace(planned.split, **kept_rows), left_out=planned.left_out | left)


def views(method: Method, planned: Plan, shown: Mapping[str, Windows], which: str) -> dict[str, Folds]:
    """Embed each split with each set of leads."""
    return {name: embedded(method, windows, planned, which) for name, windows in shown.items()}


def windows_of(
    model: Model,
    planned: Plan,
    sets: Mapping[str, Leads],
    derived: Mapping[str, Leads],
    told: Callable[[int], None],
) -> dict[str, Windows]:
    """Return windows of each set of leads; of all leads, as they are."""
    reader = Reader(planned.store, planned.wants)
    how = (reader, model.stride, told)
    return {
        name: Windows(*how) if keep == planned.wants.leads else Picked(*how, keep, derived[name])
        for name, keep in sets.items()
    }


def is_own(model: Model, planned: Plan) -> bool:
    """Say whether the run learned this very task."""
    same = [(task.name, task.kind, task.labels) for task in (model.task, planned.task)]
    return bool(model.labels) and same[0] == same[1]


def own_answers(model: Model, planned: Plan, windows: Windows) -> Scores:
    """Answer for the test records as the run itself does, from some leads."""
    pool = model.crop.pool or usual_pool(model.task)
    return answers(model.method, windows, planned.split.test, model.task, pool=pool)


def shown_fewer(solve: Any, seen: Views) -> dict[str, Scores]:
    """Fit one probe with all leads, and let it answer with each set of leads."""
    train, validation, test = seen[ALL]
    every = np.concatenate([folds.test.vector for folds in seen.values()])
    truths = [np.asarray(fold.truth, float) for fold in (train, validation)]
    score = solve(train.vector, truths[0], validation.vector, truths[1], every)
    return dict(zip(seen, np.split(score, len(score) // len(test.vector)), strict=True))


def fitted_again(solve: Any, seen: Views) -> dict[str, Scores]:
    """Fit a probe with each set of leads."""
    said = {}
    for name, (train, validation, test) in seen.items():
        truths = [np.asarray(fold.truth, float) for fold in (train, validation)]
        said[name] = solve(train.vector, truths[0], validation.vector, truths[1], test.vector)
    return said


def told_rows(
    job: str,
    said: Mapping[str, Scores],
    other: Mapping[str, Scores] | None,
    seen: Views,
    judge: Judge,
    sets: Mapping[str, Leads],
    about: Row,
) -> list[Row]:
    """Return a row per figure and set of leads, and note in `about` what else is told."""
    table: list[Row] = []
    whole = judge.answered(job, seen[ALL], said[ALL], {})
    for name, keep in sets.items():
        where = f"{job}, {name}"
        mine = judge.answered(where, seen[ALL], said[name], {})
        beside = judge.answered(where, seen[ALL], other[name], {}) if other else None
        patient = seen[ALL].test.patient
        made = rows(mine, beside, patient, judge.how)
        about |= mine.about
        for place, row in enumerate(made):
            against = {} if name == ALL else {"against_all": difference(whole, mine, place, patient, judge)}
            table.append(row | {"leads": list(keep)} | against)
    return table


def difference(whole: Judged, fewer: Judged, place: int, patient: Any, judge: Judge) -> dict[str, Any]:
    """Return what fewer leads change, paired by patient."""
    one, other, how = whole.findings[place], fewer.findings[place], judge.how
    found = paired(
        one.metric,
        one.truth,
        one.score,
        other.score,
        patient,
        better=one.better,
        resamples=how.resamples,
        seed=how.seed,
    )
    return figure(found.difference)
