"""One audit: every question put to the texts of one task, and the verdict."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from einthoven.audit.learn import Entry, answers, binned, entry, mean_row, of_text
from einthoven.audit.masking import DELETED, curve
from einthoven.audit.material import Material, gather
from einthoven.audit.overlap import mentions, shift, verbatim
from einthoven.audit.sites import sites
from einthoven.audit.style import metadata_named, style
from einthoven.audit.told import lines
from einthoven.audit.verdict import Verdict, of_metadata, unjudged, verdict
from einthoven.data.files import make_folder, write_json
from einthoven.data.split import NAMES
from einthoven.data.store import Store
from einthoven.data.task import Task
from einthoven.language.lexicon import lexicon
from einthoven.language.views import View

Progress = Callable[[int, int], None]
STEPS = 8 + len(DELETED)


@dataclass(frozen=True)
class Audit:
    """What an audit found, in plain values; a part that was not asked or could not be learned is empty.

    `rows` are entries {name, what, auroc, per_label}, of a regression {name, what, rmse, r2}; every figure is
    {value, low, high}; who has no text is judged, too. `counts` are records and patients of each split that
    have one.
    """

    store: dict[str, Any]
    task: dict[str, Any]
    view: View
    seed: int
    counts: dict[str, dict[str, int]]
    rows: tuple[Entry, ...]
    verbatim: dict[str, Any]
    mentions: dict[str, Any]
    sites: tuple[dict[str, Any], ...]
    shift: dict[str, Entry]
    curve: tuple[dict[str, Any], ...]
    verdict: Verdict
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return what is written as JSON."""
        told = {"format": 1} | asdict(self) | {"verdict": self.verdict.to_json()}
        return told | {name: list(told[name]) for name in ("rows", "sites", "curve")}

    def lines(self) -> list[str]:
        """Return what is printed."""
        return lines(self.to_json())


def audit(
    store: Store,
    task: Task,
    *,
    view: View = "full",
    column: str = "report",
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> Audit:
    """Ask what the reports of a store say of a task, to those who see them in this view.

    `column` holds the reports. Fitted on train, chosen on validation; test is scored once, for the figures.
    `seed` draws the patients of a store without folds, and the resamples.
    """
    began, tick = time.perf_counter(), ticking(progress)
    whole = gather(store, task, view=view, column=column, seed=seed)
    material = whole.drawn()
    tick()
    reports = view != "context"  # which is no report
    told: dict[str, Any] = {"verbatim": {}, "mentions": {}, "shift": {}}
    if reports:
        told["verbatim"] = verbatim(material, whole)
        told["mentions"] = mentions(material, codes(store, task))
        told["shift"] = shift(material)
    tick()
    lack = material.lacking()
    told |= (
        {"rows": (), "sites": (), "curve": (), "verdict": unjudged(lack)} if lack else learned(material, tick)
    )
    facts = {name: getattr(store, name) for name in ("title", "source", "synthetic", "fingerprint")}
    about = {"name": task.name, "kind": task.kind, "labels": list(task.labels)}
    progress(STEPS, STEPS)
    return Audit(
        store={"path": str(store.path)} | facts,
        task=about,
        view=view,
        seed=seed,
        counts=counts(material.take(material.worded)),
        **told,
        seconds=round(time.perf_counter() - began, 2),
    )


def learned(material: Material, tick: Callable[[], None]) -> dict[str, Any]:
    """Ask all that has to be learned."""
    numbers, reports = material.kind == "regression", material.view != "context"
    solver = "ridge regression" if numbers else "logistic regression"
    text, known = of_text(material), of_metadata(material)
    rows = [
        entry(material, "text only", f"hashed character n-grams, whether there is a text, {solver}", text)
    ]
    tick()
    if reports:
        table = binned(style(material.reports), material.part)
        score = answers(table, material.truth, material.part, material.kind)
        what = f"language, marker, length, statements, punctuation, capitals, {solver}"
        rows.append(entry(material, "style only", what, score))
    rows.append(entry(material, "metadata only", f"{metadata_named(material.records)}, {solver}", known))
    rows += [mean_row(material)] if numbers else []
    tick()
    where = tuple(sites(material.take(material.worded)))
    tick()
    points = tuple(curve(material, rows[0], tick)) if reports and material.worded.any() else ()
    return {"rows": tuple(rows), "sites": where, "curve": points, "verdict": verdict(material, text, known)}


def codes(store: Store, task: Task) -> set[str]:
    """Return the codes that a report may give away: the task's labels and all SCP codes that are known."""
    statements = {label for labels in store.tasks.values() for label in labels}
    return set(task.labels) | statements | {code for known in lexicon().entries for code in known.codes}


def counts(material: Material) -> dict[str, dict[str, int]]:
    """Count records and their patients."""
    parts = [material.part == number for number in range(3)]
    return {
        name: {"records": int(here.sum()), "patients": len(np.unique(material.patient[here]))}
        for name, here in zip(NAMES, parts, strict=True)
    }


def ticking(progress: Progress) -> Callable[[], None]:
    """Return what is called after each step."""

    def steps() -> Iterator[None]:
        for done in range(1, STEPS + 1):
            progress(done, STEPS)
            yield

    clock = steps()
    return lambda: next(clock, None)


def audit_job(
    store: Store,
    task: Task,
    *,
    view: View = "full",
    column: str = "report",
    seed: int = 0,
    out: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> list[str]:
    """Audit, write the figures to `out` (.json) if asked to, and return the lines to print."""
    if out is not None and out.suffix != ".json":
        raise ValueError(f"The figures are written as .json: --out {out}.json, not {out}.")
    if out is not None:
        make_folder(out.parent)  # before the work, not after it
    found = audit(store, task, view=view, column=column, seed=seed, progress=progress)
    if out is not None:
        write_json(out, found.to_json())
    return found.lines() + ([f"Figures: {out}"] if out is not None else [])
