"""Whether the text gives away where, or with which device, an ECG was recorded."""

from collections import Counter
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from einthoven.audit.learn import STRENGTHS, Scores, ngrams
from einthoven.audit.material import CHOOSE, FIT, SCORE, Material, Table
from einthoven.data.task import spell
from einthoven.evaluate.bootstrap import bootstrap
from einthoven.evaluate.figures import figure
from einthoven.evaluate.probe import fit_logistic, predict, standardised
from einthoven.evaluate.scores import accuracy

COLUMNS = ("site", "device")
CLASSES, LEAST = 12, 10  # so many classes, of at least so many training records; the others are one more


def sites(material: Material) -> list[dict[str, Any]]:
    """Predict each such column that the store has from the text alone."""
    table = ngrams(material.texts)
    told = (predicted(material, column, table) for column in COLUMNS if column in material.records)
    return [line for line in told if line]


def predicted(material: Material, column: str, table: Table) -> dict[str, Any] | None:
    """Return the accuracy on the scored part and the share of its largest class; None without two."""
    value = [(spell(cell) or "").strip() for cell in material.records[column]]
    known = np.array([bool(word) for word in value], bool)
    taught = Counter(word for word, part in zip(value, material.part, strict=True) if word and part == FIT)
    classes = [word for word, count in taught.most_common(CLASSES) if count >= LEAST]
    place = {word: number for number, word in enumerate(classes)}
    one_hot = np.eye(len(classes) + 1)[[place.get(word, len(classes)) for word in value]][known]
    part = material.part[known]
    if len(classes) < 2 or len(np.unique(part)) < 3:
        return None
    score = named(table[known], one_hot, part)
    scored = part == SCORE
    truth, patient = one_hot[scored], material.patient[known][scored]
    return {
        "column": column,
        "classes": len(taught),
        "accuracy": figure(bootstrap(accuracy, truth, score, patient, seed=material.seed)),
        "majority": float(truth.mean(0).max()),
    }


def named(
    table: Table, one_hot: Float[np.ndarray, "record label"], part: Int[np.ndarray, " record"]
) -> Scores:
    """Return probabilities of the scored part by the strength that names most of those that choose.

    By names, not by AUROC: a strong penalty may order all rightly and name the largest class everywhere.
    """
    x = standardised(*(table[part == number] for number in (FIT, CHOOSE, SCORE)))
    taught, truth = one_hot[part == FIT], one_hot[part == CHOOSE].argmax(1)
    weights = chosen = np.zeros((table.shape[1] + 1, one_hot.shape[1]))
    best = -1.0
    for strength in STRENGTHS:
        weights = fit_logistic(x[0], taught, strength, weights)
        right = float((predict(x[1], weights).argmax(1) == truth).mean())
        if right >= best:
            chosen, best = weights, right
    return predict(x[2], chosen)
