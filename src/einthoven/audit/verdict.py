"""The verdict: does the text say what the task asks?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from einthoven.audit.learn import Scores, answers, binned, macro_score, of_text
from einthoven.audit.material import SCORE, Material, inner, of_split
from einthoven.audit.style import metadata, metadata_named
from einthoven.data.split import Split
from einthoven.data.task import Kind
from einthoven.evaluate.bootstrap import Interval, bootstrap
from einthoven.evaluate.compare import paired
from einthoven.evaluate.figures import Number, figure
from einthoven.evaluate.scores import auroc
from einthoven.language.views import View

Word = Literal["leaky", "not shown to leak", "cannot be judged"]
LINE: dict[Kind, float] = {"labels": 0.65, "multiclass": 0.65, "regression": 0.10}  # macro AUROC; R²
CHANCE: dict[Kind, float] = {"labels": 0.5, "multiclass": 0.5, "regression": 0.0}
BEYOND = 0.05  # above what the metadata tell
FEW = 10  # with fewer positives (or negatives) a label is not judged by itself
FEWER = 5  # if it has to stand above the metadata as well, which chance seldom does
PARTS = ("part of training that fits", "part of training that chooses", "validation split")


@dataclass(frozen=True)
class Verdict:
    """A word, a sentence that says why, and the two figures behind it: macro AUROC, or R² of a regression.

    `labels` are those that the text tells by itself, each with its interval wholly above .65; a text of view
    "context" has to tell them better than the metadata.
    """

    word: Word
    why: str
    text: dict[str, Number] | None = None
    metadata: dict[str, Number] | None = None
    labels: tuple[str, ...] = ()

    @property
    def leaky(self) -> bool:
        """Whether a text that is an input must be declared."""
        return self.word == "leaky"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"labels": list(self.labels)}


class Standing(NamedTuple):
    """What a verdict weighs."""

    text: Interval
    metadata: Interval
    beyond: Interval  # text less metadata, paired
    labels: tuple[str, ...]


def unjudged(why: str) -> Verdict:
    """Say that nothing can be said."""
    return Verdict("cannot be judged", f"Nothing can be said: {why}.")


def verdict(material: Material, text: Scores, known: Scores) -> Verdict:
    """Weigh what the text tells against what age and sex tell of the same scored records."""
    scored = material.part == SCORE
    truth, patient = material.truth[scored], material.patient[scored]
    metric, seed = macro_score(material.kind), material.seed
    found = paired(metric, truth, known, text, patient, seed=seed)
    of_known, of_words = (bootstrap(metric, truth, score, patient, seed=seed) for score in (known, text))
    told = labels_told(material, truth, text, known)
    standing = Standing(of_words, of_known, found.difference, told)
    named, where = metadata_named(material.records), f" on the {material.names[SCORE]}"
    return ruling(standing, material.kind, material.view, named, where)


def ruling(standing: Standing, kind: Kind, view: View, known: str, where: str = "") -> Verdict:
    """Turn what a verdict weighs into a word and a sentence; `known` names metadata, `where` the split."""
    text, metadata, beyond, labels = standing
    if np.isnan(text.value) or np.isnan(text.low):
        return unjudged("no label has enough positives and negatives to be scored")
    name = "R²" if kind == "regression" else "macro AUROC"
    told = f"{name} {text.value:.3f} ({text.low:.3f} to {text.high:.3f}){where}"
    figures = (figure(text), figure(metadata), labels)
    if reason := leak(standing, kind, view):
        word: Word = "leaky"
    elif view == "context":
        word, reason = (
            "not shown to leak",
            f"{'no more than' if beyond.value <= 0 else 'not well above'} the metadata",
        )
    else:
        word, reason = "not shown to leak", f"neither above {LINE[kind]:.2f} nor well above the metadata"
    why = f"The text alone reaches {told}, {reason}; that of {known} is {metadata.value:.3f}."
    return Verdict(word, why, *figures)


def leak(standing: Standing, kind: Kind, view: View) -> str:
    """Say what makes a text leaky, "" if nothing does.

    It stands above the line; or above the metadata, by more than chance; or its macro average hides labels
    that it tells. A text of view "context" is made of metadata: of it only the second is asked, and of labels
    that it tells better than these.
    """
    text, metadata, beyond, labels = standing
    chance = CHANCE[kind]
    if view != "context" and text.value > LINE[kind] and text.low > chance:
        return f"above {LINE[kind]:.2f}"
    real = beyond.low > 0 and text.low > chance
    if real and text.value > max(metadata.value, chance) + BEYOND:
        return f"more than {BEYOND:.2f} above the metadata"
    if labels:
        better = " better than the metadata" if view == "context" else ""
        return f"which hides that it tells {', '.join(labels)}{better}"
    return ""


def labels_told(
    material: Material,
    truth: Float[np.ndarray, "scored label"],
    text: Scores,
    known: Scores,
) -> tuple[str, ...]:
    """Name the labels whose interval lies wholly above the line, by enough positives and negatives.

    In view "context" they also have to stand above what the metadata tell of them, as an average has to.
    """
    if material.kind == "regression":
        return ()
    patient, context = material.patient[material.part == SCORE], material.view == "context"
    low = bootstrap(auroc, truth, text, patient, seed=material.seed).low
    enough = np.minimum((truth == 1).sum(0), (truth == 0).sum(0)) >= (FEWER if context else FEW)
    clear = enough & (np.nan_to_num(low) > LINE[material.kind])
    if context:
        beyond = paired(auroc, truth, known, text, patient, seed=material.seed).difference
        clear &= (beyond.low > 0) & (beyond.value > BEYOND)
    return tuple(label for label, told in zip(material.labels, clear, strict=True) if told)


def of_metadata(material: Material) -> Scores:
    """Answer from age, sex, and what else the store has of the patient."""
    table = binned(metadata(material.records), material.part)
    return answers(table, material.truth, material.part, material.kind)


def quick(
    records: pd.DataFrame,
    truth: Float[np.ndarray, "record label"],
    split: Split,
    texts: Sequence[str],
    kind: Kind = "labels",
    *,
    labels: Sequence[str] = (),
    view: View = "full",
    seed: int = 0,
) -> Verdict:
    """Judge what a model would see of each record ("" for none), in seconds; the test split is not read.

    A fifth of the training patients chooses the strength, validation is scored. `texts` and `truth` have a
    line per record of `records`; `labels` names the columns of `truth`.
    """
    if kind == "unlabelled":
        return unjudged("the task has no labels")
    patient = records["patient_id"].to_numpy(dtype=object).astype(str)
    parts = inner(split, patient, seed)
    names = tuple(labels) or tuple(f"label {place}" for place in range(truth.shape[1]))
    whole = of_split(records, truth, parts, texts, kind=kind, labels=names, view=view, seed=seed)
    material = replace(whole, names=PARTS).drawn()
    if lack := material.lacking():
        return unjudged(lack)
    return verdict(material, of_text(material), of_metadata(material))
