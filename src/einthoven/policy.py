"""What of its reports a model may see: `[text] view`, and what that view gives away."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from einthoven.ancestry import starts
from einthoven.audit import SHOWN, Verdict, quick, reports_of
from einthoven.data.split import Split
from einthoven.data.store import Store
from einthoven.data.task import Task
from einthoven.language.views import View, labels_of, named, seen
from einthoven.parts import call

__all__ = [
    "POLICY",
    "Policy",
    "gives_away",
    "hiding",
    "leak_of",
    "policy_of",
    "reports_of",
    "taught_by",
    "texts_of",
]

POLICY = ("view", "column", "hidden", "allow_label_leakage")  # keys of [text] that its part never sees


@dataclass(frozen=True)
class Policy:
    """`view`: none, context (age, sex ...), masked (without the words of the lexicon), full.

    Where labels were read off the reports, a full report as an input gives the answer away: a model may
    have it only if a recipe says so, and its figures are marked LEAKY. `column` is what is read; `hidden` are
    further words that view masked does not show. A run keeps the labels of its store and task there.
    """

    view: View | None = None
    column: str = "report"
    hidden: Sequence[str] = ()
    allow_label_leakage: bool = False


def texts_of(recipe: Mapping[str, Any], store: Store) -> tuple[str, ...] | None:
    """Return what a model may see of each report of a store; None: its recipe has no [text]."""
    if "text" not in recipe:
        return None
    policy = policy_of(recipe)
    view = policy.view or "none"
    if view == "none" and "fusion" not in recipe:
        raise ValueError("[text] view = 'none' shows no report, so that none can teach: say full or masked.")
    records = reports_of(store, policy.column, view)
    texts = seen(records, view, policy.hidden)
    if view in SHOWN and not any(texts):
        if any(seen(records, "full")):
            raise ValueError(
                f"[text] view = 'masked' leaves nothing of the reports of {store.path} (column "
                f"{policy.column!r}): the lexicon knows all their words. Say view = 'context' or 'none'."
            )
        said = next((raw for raw in records["report"] if raw.strip()), "")
        why = f"says nothing of an ECG, as in {said[:60]!r}," if said else "is empty"
        raise ValueError(
            f"{store.path} has no reports (column {policy.column!r} {why} in all {len(store)} records): "
            "import them, or say [text] view = 'context' or 'none'."
        )
    return texts


def hiding(recipe: Mapping[str, Any], store: Store, task: Task) -> Mapping[str, Any]:
    """Say in a recipe which labels its masked reports do not show, for texts that come without the store."""
    if "text" not in recipe or policy_of(recipe).view != "masked":
        return recipe
    own = {label for label in task.labels if len(label) > 1 and not label.isdecimal()}
    hidden = sorted({*policy_of(recipe).hidden, *labels_of(store.records), *own})
    return {**recipe, "text": {**recipe["text"], "hidden": hidden}}


def policy_of(recipe: Mapping[str, Any]) -> Policy:
    """Read the policy of a recipe, which has to say one."""
    table = {key: value for key, value in recipe["text"].items() if key in POLICY}
    if "view" in table:
        named(str(table["view"]))
    policy: Policy = call(Policy, table, where="text")
    if policy.view is None:
        raise ValueError(
            "[text] needs a view, which says what of a report a model may see: none, context, masked or full."
        )
    return policy


def leak_of(
    recipe: Mapping[str, Any],
    store: Store,
    task: Task,
    truth: Float[np.ndarray, "record label"],
    split: Split,
    texts: tuple[str, ...] | None,
) -> Verdict | None:
    """Say whether texts that are an input give the answer away, by validation; refuse it unless allowed.

    None where no text is an input: reports that only teach (methods `dual` and `concepts`) are none.
    """
    if texts is None or "fusion" not in recipe or not any(texts):
        return None
    policy = policy_of(recipe)
    how: dict[str, Any] = {"labels": task.labels, "view": policy.view or "none"}
    known = store.records.drop(columns=[*task.columns], errors="ignore")  # what is asked is no metadata
    verdict = quick(known, truth, split, texts, task.kind, **how)
    if gives_away(verdict, policy.view) and policy.view == "full" and not policy.allow_label_leakage:
        may = "gives" if verdict.leaky else "may give"
        raise ValueError(
            f"[text] view = 'full' {may} {task.name!r} away: {verdict.why} Say view = 'masked' or 'context', "
            "or allow_label_leakage = true, which marks every figure LEAKY (einthoven audit says more)."
        )
    return verdict


def gives_away(verdict: Verdict | None, view: View | None) -> bool:
    """Say whether figures are to be marked; what is read of a report gives away until it is shown not to."""
    if verdict is None:
        return False
    return verdict.leaky or (view in SHOWN and verdict.word == "cannot be judged")


def taught_by(
    recipe: Mapping[str, Any], texts: tuple[str, ...] | None, split: Split
) -> dict[str, bool | dict[str, int]]:
    """Say whether reports teach this network, or taught the runs that it starts from."""
    told: dict[str, bool | dict[str, int]] = {}
    if texts is not None and "fusion" not in recipe:
        read = [texts[row] for row in split.train if texts[row]]
        told["taught"] = {"reports": len(read), "different": len(set(read))}
    results = [run / "results.json" for run in starts(recipe)]
    earlier = [json.loads(file.read_text(encoding="utf-8")) for file in results if file.is_file()]
    if any(one.get("taught") or one.get("report_supervised") for one in earlier):
        told["report_supervised"] = True
    return told
