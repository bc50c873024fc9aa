"""The same score by sex and age band, with how many records stand behind it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool

from einthoven.evaluate.answers import Answers
from einthoven.evaluate.bootstrap import evaluated
from einthoven.evaluate.figures import macro_figure
from einthoven.evaluate.metric import Draws, Metric

BANDS = (("under 40", 0.0, 40.0), ("40-59", 40.0, 60.0), ("60-74", 60.0, 75.0), ("75 and over", 75.0, np.inf))


def groups(answers: Answers) -> Iterator[tuple[str, str, Bool[np.ndarray, " record"]]]:
    """Yield (column, value, members) of every group; the unknown come last, if there are any."""
    if answers.sex is not None:
        members = {name: np.array([sex == name for sex in answers.sex], bool) for name in ("female", "male")}
        yield from _with_unknown("sex", members)
    if answers.age is not None:
        members = {name: (answers.age >= low) & (answers.age < high) for name, low, high in BANDS}
        yield from _with_unknown("age", members)


def _with_unknown(
    column: str, members: dict[str, Bool[np.ndarray, " record"]]
) -> Iterator[tuple[str, str, Bool[np.ndarray, " record"]]]:
    unknown = ~np.logical_or.reduce(list(members.values()))
    if unknown.all():
        return
    yield from ((column, value, here) for value, here in members.items())
    if unknown.any():
        yield column, "unknown", unknown


def subgroups(answers: Answers, metric: Metric, weights: Draws) -> list[dict[str, Any]]:
    """Return the macro average of the metric in each group, under the metric's name, with counts.

    `undefined` names the labels that the group cannot score; null figures mean that it can score none.
    The draws are those of the whole test set, so a group's size varies as it would in new data.
    """
    lines = []
    for column, value, here in groups(answers):
        scores, draws = evaluated(metric, answers.truth[here], answers.score[here], weights[:, here])
        lines.append(
            {
                "column": column,
                "value": value,
                "records": int(here.sum()),
                "patients": len(np.unique(answers.patient[here])),
                metric.name: macro_figure(scores, draws),
                "undefined": [
                    name for name, score in zip(answers.labels, scores, strict=True) if np.isnan(score)
                ],
            }
        )
    return lines
