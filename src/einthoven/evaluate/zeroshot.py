"""Zero-shot: ECGs scored by prompts in place of labels, and ECGs and reports that find each other.

All that comes in are vectors of one space: of ECGs, of prompts, of reports.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from einthoven.evaluate.nearest import Vectors, placed
from einthoven.evaluate.retrieve import RECALLS, Retrieved, retrieve
from einthoven.evaluate.scores import auroc

ALIKE = 1e-6  # scores that differ by no more say the same of every record: float32 cosines are no finer
Prompted = Sequence[Float[np.ndarray, "_ size"]]


class Sensitivity(NamedTuple):
    """How much hangs on the wording: AUROC with one positive prompt at a time, and its spread per label."""

    auroc: tuple[Float[np.ndarray, " prompt"], ...]
    mean: Float[np.ndarray, " label"]
    sd: Float[np.ndarray, " label"]
    least: Float[np.ndarray, " label"]
    most: Float[np.ndarray, " label"]


class Reported(NamedTuple):
    """How ECGs find their reports (one line per ECG), and different reports their ECGs (one line each)."""

    report: Retrieved
    ecg: Retrieved


def zeroshot(
    ecg: Float[np.ndarray, "record size"], positive: Prompted, negative: Prompted
) -> Float[np.ndarray, "record label"]:
    """Return the mean cosine to a label's positive prompts, less that to its negative ones if it has any.

    >>> ecg = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> zeroshot(ecg, [np.array([[1.0, 0.0]])], [np.array([[0.0, 2.0]])]).tolist()
    [[1.0], [-1.0]]
    """
    if len(positive) != len(negative):
        raise ValueError(f"Got positive prompts of {len(positive)} labels and negative of {len(negative)}.")
    if lacking := [label for label, prompts in enumerate(positive) if not len(prompts)]:
        raise ValueError(f"Label number {lacking[0]} has no positive prompt.")
    towards = [centre(yes) - centre(no) for yes, no in zip(positive, negative, strict=True)]
    return np.asarray(placed(ecg, "cosine") @ np.reshape(towards, (len(towards), ecg.shape[1])).T)


def centre(prompts: Float[np.ndarray, "prompt size"]) -> Float[np.ndarray, " size"]:
    """Return the mean direction of some prompts; of none, nothing."""
    return np.asarray(placed(prompts, "cosine").sum(0) / max(len(prompts), 1))


def tells_apart(score: Float[np.ndarray, "record label"]) -> Bool[np.ndarray, " label"]:
    """Say which labels have scores that differ between records: those that do not are no answer."""
    return np.asarray(np.ptp(score, axis=0) > ALIKE if len(score) else np.zeros(score.shape[1], bool))


def sensitivity(
    ecg: Float[np.ndarray, "record size"],
    positive: Prompted,
    negative: Prompted,
    truth: Float[np.ndarray, "record label"],
) -> Sensitivity:
    """Score every positive prompt alone, against all of its label's negative ones; sd is over prompts.

    A prompt that says the same of every record has no AUROC (NaN), and is left out of mean, sd and bounds.
    """
    areas = []
    for label, (yes, no) in enumerate(zip(positive, negative, strict=True)):
        score = zeroshot(ecg, [one[None] for one in yes], [no] * len(yes))
        known = np.where(tells_apart(score), truth[:, [label]], np.nan)
        areas.append(np.asarray(auroc(known, score)))
    told = [spread(area[~np.isnan(area)]) for area in areas]
    return Sensitivity(tuple(areas), *np.array(told, float).reshape(len(told), 4).T)


def spread(area: Float[np.ndarray, " prompt"]) -> tuple[float, float, float, float]:
    """Return mean, standard deviation (of a sample; NaN of one), least and most."""
    if not len(area):
        return (np.nan,) * 4
    sd = float(area.std(ddof=1)) if len(area) > 1 else np.nan
    return float(area.mean()), sd, float(area.min()), float(area.max())


def find_reports(
    ecg: Float[np.ndarray, "record size"],
    report: Float[np.ndarray, "report size"],
    own: Int[np.ndarray, " record"],
    ks: Sequence[int] = RECALLS,
) -> Reported:
    """Let ECGs find their reports among all different ones, and each different report its ECGs.

    `report` has one line per different report, `own` says which of them each ECG has: whoever wrote the same
    is right. Recall@k counts different reports, so that a frequent one does not fill the places.
    """
    if len(own) and not 0 <= own.min() <= own.max() < len(report):
        raise ValueError(f"`own` names reports from 0 to {len(report) - 1}; got {own.min()} to {own.max()}.")
    sides = (Vectors(ecg, none(ecg), own), Vectors(report, none(report), np.arange(len(report))))
    there, back = (
        retrieve(query, gallery, relevant="patient", ks=ks) for query, gallery in (sides, sides[::-1])
    )
    return Reported(there, back)


def none(vectors: Float[np.ndarray, "row size"]) -> Float[np.ndarray, "row 0"]:
    """Return a truth without labels: equal reports, not labels, say what is relevant."""
    return np.zeros((len(vectors), 0))
