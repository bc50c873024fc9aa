"""Separability of true labels against scikit-learn, and its interval and chance against simulation."""

import numpy as np
import pytest
from sklearn.metrics import (
    calinski_harabasz_score,
    davies_bouldin_score,
    silhouette_samples,
    silhouette_score,
)

from einthoven.evaluate import separability as module
from einthoven.evaluate.jackknife import parts_of
from einthoven.evaluate.separability import SCORES, Separated, scored, separability


def some(
    seed: int, gap: float, patients: int = 50, most: int = 3
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    who = np.repeat(np.arange(patients), random.integers(1, most + 1, patients))
    classes = (who % 4).astype(np.int64)
    return gap * np.eye(4, 6)[classes] + random.normal(0, 1, (len(who), 6)), classes, who.astype(str)


def theirs(points: np.ndarray, classes: np.ndarray) -> list[float]:
    return [
        float(score(points, classes))
        for score in (silhouette_score, davies_bouldin_score, calinski_harabasz_score)
    ]


def values(found: Separated) -> list[float]:
    return [getattr(found, name).value for name in SCORES]


@pytest.mark.parametrize("gap", [0.0, 1.0, 20.0])
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_scores_are_those_of_scikit_learn(gap: float, distance: str) -> None:
    points, classes, patient = some(0, gap)
    found = separability(points, classes, patient, distance=distance)
    read = points if distance == "euclidean" else points / np.linalg.norm(points, axis=1, keepdims=True)
    assert values(found) == pytest.approx(theirs(read, classes), rel=1e-6, abs=1e-9)


def test_many_labellings_at_once_are_each_as_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    points, classes, _ = some(1, 1.0)
    random = np.random.default_rng(0)
    labellings = np.stack(
        [np.where(random.random(len(classes)) < 0.3, -1, random.permutation(classes)) for _ in range(9)]
    )
    expected = [theirs(points[named >= 0], named[named >= 0]) for named in labellings]
    np.testing.assert_allclose(scored(points, labellings), expected, rtol=1e-6)
    monkeypatch.setattr(module, "CELLS", 1500)  # few at a time, of records and of labellings
    np.testing.assert_allclose(scored(points, labellings), expected, rtol=1e-6)


def test_alone_in_a_class_and_copies_count_as_in_scikit_learn() -> None:
    points, classes, _ = some(2, 1.0)
    classes[0] = 4
    points[10:14] = points[10]
    assert scored(points, classes[None])[0].tolist() == pytest.approx(theirs(points, classes), rel=1e-6)
    assert silhouette_samples(points, classes)[0] == 0


def test_the_interval_leaves_out_each_patient_once() -> None:
    points, classes, patient = some(3, 1.5, 20)
    found = separability(points, classes, patient, distance="euclidean")
    rest = [patient != who for who in np.unique(patient)]
    without = np.array([theirs(points[keep], classes[keep]) for keep in rest])
    error = np.sqrt(19 / 20 * np.square(without - without.mean(0)).sum(0))
    for place, name in enumerate(SCORES):
        interval = getattr(found, name)
        assert interval.high - interval.value == pytest.approx(1.96 * error[place], rel=1e-6)


def test_many_patients_are_left_out_in_groups_that_keep_each_together() -> None:
    patient = np.repeat(np.arange(90), 3).astype(str)
    parts = parts_of(patient, 40, 0)
    assert set(parts) == set(range(40)) and set(np.bincount(parts).tolist()) == {6, 9}
    assert all(len(set(parts[patient == who])) == 1 for who in set(patient))


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Two ECGs of each of 60 patients; the truth is what very many patients would give."""

    def draw(seed: int, patients: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        random = np.random.default_rng(seed)
        classes = random.integers(0, 3, patients)
        centre = 3.0 * np.eye(3)[classes] + random.normal(0, 0.7, (patients, 3))
        points = np.repeat(centre, 2, axis=0) + random.normal(0, 0.7, (2 * patients, 3))
        return points, np.repeat(classes, 2), np.repeat(np.arange(patients), 2).astype(str)

    truth = np.mean([theirs(*draw(900 + seed, 60)[:2]) for seed in range(200)], axis=0)
    held = np.zeros(3)
    for seed in range(60):
        found = separability(*draw(seed, 60), distance="euclidean")
        held += [
            getattr(found, n).low <= t <= getattr(found, n).high for n, t in zip(SCORES, truth, strict=True)
        ]
    assert (held / 60 >= 0.85).all(), held / 60


def test_chance_keeps_a_patients_records_together() -> None:
    found, chance = [], []
    for seed in range(20):
        random = np.random.default_rng(seed)
        who = np.repeat(np.arange(30), 5)
        points = random.normal(0, 1, (30, 4))[who] + random.normal(0, 0.05, (150, 4))
        told = separability(
            points, random.permutation(np.arange(30) % 2)[who], who.astype(str), distance="euclidean"
        )
        found.append(values(told))
        chance.append(told.chance)
    centre, spread = np.mean(found, axis=0), np.std(found, axis=0) / np.sqrt(20)
    assert (np.abs(np.mean(chance, axis=0) - centre) < 3 * spread).all()
    assert np.mean(chance, axis=0)[2] > 3  # records that are shuffled one by one would give 1


def test_a_collapsed_embedding_has_no_separability_rather_than_the_best() -> None:
    _, classes, patient = some(0, 0.0)
    found = separability(np.ones((len(classes), 3)), classes, patient)
    assert found.silhouette.value == 0.0
    assert np.isnan([found.davies_bouldin.value, found.calinski_harabasz.value, *found.chance[1:]]).all()
    assert davies_bouldin_score(np.ones((len(classes), 3)), classes) == 0.0  # theirs says: perfect


def test_of_one_patient_nobody_knows_the_interval_nor_the_chance() -> None:
    points, classes, patient = some(0, 3.0)
    found = separability(points, classes, np.full_like(patient, "one"))
    assert np.isfinite(values(found)).all() and np.isnan([*found.silhouette[1:], *found.chance]).all()


def test_records_without_a_class_take_no_part() -> None:
    points, classes, patient = some(0, 2.0)
    points[::4], classes[::4] = 1e6, -1
    keep = classes >= 0
    a = separability(points, classes, patient, distance="euclidean")
    b = separability(points[keep], classes[keep], patient[keep], distance="euclidean")
    assert a == b and a.records == keep.sum()
    with pytest.raises(ValueError, match="have 1"):
        separability(np.eye(4), np.zeros(4, np.int64), np.arange(4).astype(str))
