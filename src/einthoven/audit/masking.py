"""The masking curve: what the text still tells when more and more of it is taken away."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from einthoven.audit.learn import entry, of_text
from einthoven.audit.material import CHOOSE, FIT, Material
from einthoven.evaluate.probe import best_ridge, fit_logistic, standardised
from einthoven.language.lexicon import lexicon
from einthoven.language.ngrams import WORD, vocabulary, words

DELETED = (20, 40, 80, 160)
VOCABULARY, LEAST = 2_000, 3  # so many words, of at least so many training texts
STRENGTH = 1e-3

Had = Bool[np.ndarray, " record"]


def curve(
    material: Material, whole: dict[str, Any], tick: Callable[[], None] = lambda: None
) -> list[dict[str, Any]]:
    """Score the text as it is (`whole`), without what the lexicon knows, then without the most telling words.

    The words are chosen on train, the next ones always by a model of what is left, as long as any tells.
    """
    had = material.worded
    told = [point(material, had, "as it is", 0, whole)]
    left = material.reworded(lexicon().mask)
    told.append(measured(left, had, "lexicon masked", 0))
    tick()
    left = left.reworded(lambda text: " ".join(words(text)))  # a text of which nothing is left is none
    told.append(measured(left, had, "and no mark left of it", 0))
    tick()
    gone = 0
    for count in DELETED:
        ranked = telling(left)[: count - gone]
        if not ranked:
            break
        gone += len(ranked)
        left = left.reworded(without(frozenset(ranked)))
        told.append(measured(left, had, f"and {gone} words deleted", gone))
        tick()
    return told


def measured(material: Material, had: Had, what: str, deleted: int) -> dict[str, Any]:
    """Learn from what is left of the texts."""
    return point(material, had, what, deleted, entry(material, "text only", what, of_text(material)))


def point(material: Material, had: Had, what: str, deleted: int, told: dict[str, Any]) -> dict[str, Any]:
    """Put a point of the curve together: words left of each record that had a text, and the figure."""
    figures = {key: told[key] for key in ("auroc", "rmse", "r2") if key in told}
    length = sum(len(words(text)) for text in material.texts) / max(int(had.sum()), 1)
    return {"what": what, "deleted": deleted, "words_left": round(length, 2)} | figures


def telling(material: Material) -> list[str]:
    """Rank words by the size of their coefficients in a linear model of the training texts.

    Presence of each word is scaled to sd 1, so that a rare word needs a large effect to stand first.
    """
    count, known = vocabulary(material.texts)
    present = (count > 0).astype(np.float32)
    taught = material.part == FIT
    often = np.asarray(present[taught].sum(0)).ravel()
    chosen = [place for place in np.argsort(-often, kind="stable")[:VOCABULARY] if often[place] >= LEAST]
    if not chosen:
        return []
    table = np.asarray(present[:, chosen].toarray())
    size = weights(table, material)
    return [known[chosen[place]] for place in np.argsort(-size, kind="stable") if size[place] > 0]


def weights(table: Float[np.ndarray, "record word"], material: Material) -> Float[np.ndarray, " word"]:
    """Return the size of each word's coefficients over all labels."""
    train, chooses = (material.part == number for number in (FIT, CHOOSE))
    if material.kind != "regression":
        (x,) = standardised(table[train])
        start = np.zeros((table.shape[1] + 1, material.truth.shape[1]))
        fitted = fit_logistic(x, material.truth[train], STRENGTH, start)
        return np.asarray(np.linalg.norm(fitted[:-1], axis=1))
    squares = np.zeros(table.shape[1])
    for truth in material.truth.T:
        known = train & ~np.isnan(truth)
        x, other = standardised(table[known], table[chooses])
        squares += best_ridge(x, truth[known], other, truth[chooses])[0] ** 2
    return np.sqrt(squares)


def without(gone: frozenset[str]) -> Callable[[str], str]:
    """Return what deletes these words from a text."""

    def keep(match: re.Match[str]) -> str:
        return "" if match[0] in gone else match[0]

    return lambda text: " ".join(WORD.sub(keep, text).split())
