"""Neighbours against scikit-learn, and against the sharing of ties by definition."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from einthoven.evaluate import macro_auroc
from einthoven.evaluate.knn import knn, votes
from einthoven.evaluate.nearest import Vectors


def some(seed: int, records: int, dim: int = 4) -> Vectors:
    random = np.random.default_rng(seed)
    truth = (random.random((records, 2)) < 0.4).astype(float)
    points = random.normal(size=(records, dim)) + np.pad(truth, ((0, 0), (0, dim - 2)))
    return Vectors(points.astype(np.float32), truth, np.arange(records).astype(str))


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("weights", ["uniform", "distance"])
def test_votes_are_those_of_scikit_learn(distance: str, weights: str) -> None:
    train, test = some(0, 80), some(1, 30)
    test.vector[:3] = train.vector[:3]  # copies outvote all others
    mine = votes(train, test.vector, [1, 3, 10], distance=distance, weights=weights)
    for place, k in enumerate((1, 3, 10)):
        for label in range(2):
            theirs = KNeighborsClassifier(k, weights=weights, metric=distance, algorithm="brute")
            theirs.fit(train.vector.astype(np.float64), train.truth[:, label])
            if distance == "cosine" and weights == "distance":  # theirs rounds a copy's distance above 0
                said = theirs.predict_proba(test.vector[3:].astype(np.float64))[:, 1]
                np.testing.assert_allclose(mine[place, 3:, label], said, atol=1e-9)
                np.testing.assert_array_equal(mine[place, :3, label], train.truth[:3, label])
            else:
                said = theirs.predict_proba(test.vector.astype(np.float64))[:, 1]
                np.testing.assert_allclose(mine[place, :, label], said, atol=1e-9)


def test_numbers_are_those_of_scikit_learn() -> None:
    train, test = some(0, 80), some(1, 30)
    number = np.random.default_rng(2).normal(60, 10, (80, 1))
    theirs = KNeighborsRegressor(7, weights="distance").fit(train.vector.astype(np.float64), number[:, 0])
    mine = votes(
        Vectors(train.vector, number, train.patient),
        test.vector,
        [7],
        distance="euclidean",
        weights="distance",
    )
    np.testing.assert_allclose(mine[0, :, 0], theirs.predict(test.vector.astype(np.float64)), rtol=1e-9)


def test_records_tied_at_the_last_place_share_it() -> None:
    # At distances 1, 2, 2, 2 with k = 2: the first counts whole, each of the three a third.
    point = np.array([[1.0], [2.0], [-2.0], [2.0], [9.0]])
    train = Vectors(point, np.array([[0.0], [1.0], [1.0], [0.0], [1.0]]), np.arange(5).astype(str))
    said = votes(train, np.zeros((1, 1)), [1, 2, 3, 4, 5], distance="euclidean")[:, 0, 0]
    np.testing.assert_allclose(said, [0, 1 / 3, 4 / 9, 1 / 2, 3 / 5])


def test_the_order_of_the_training_records_does_not_matter() -> None:
    random = np.random.default_rng(0)
    point, truth = random.integers(0, 3, (60, 2)).astype(float), (random.random((60, 1)) < 0.5).astype(float)
    train, query = (
        Vectors(point, truth, np.arange(60).astype(str)),
        random.integers(0, 3, (20, 2)).astype(float),
    )
    mixed = train.take(random.permutation(60))
    for weights in ("uniform", "distance"):
        a, b = (votes(t, query, [1, 5, 20], distance="euclidean", weights=weights) for t in (train, mixed))
        np.testing.assert_allclose(a, b)


def test_a_vector_far_out_makes_no_others_tie() -> None:
    train, test = some(0, 60), some(1, 20)
    far = Vectors(
        np.vstack([train.vector, np.full((1, 4), -3e8, np.float32)]),
        np.vstack([train.truth, [[1.0, 1.0]]]),
        np.append(train.patient, "far"),
    )
    for top in ([1, 5], [1, 5, 60]):  # ranked in part, and whole
        before, after = (votes(t, test.vector, top, distance="euclidean") for t in (train, far))
        np.testing.assert_array_equal(before, after)


def test_a_collapsed_embedding_answers_with_the_prevalence() -> None:
    train, test = some(0, 50), some(1, 20)
    said = knn(train.collapsed(), test.collapsed(), test.collapsed().vector)
    np.testing.assert_allclose(said.score, np.tile(train.truth.mean(0), (20, 1)))
    assert macro_auroc(test.truth, said.score) == 0.5


def test_unknown_truth_has_no_vote() -> None:
    train, test = some(0, 60), some(1, 10)
    train.truth[::2, 0] = np.nan
    said = votes(train, test.vector, [5])[0]
    near = np.argsort(-(unit(test.vector) @ unit(train.vector).T), axis=1)[:, :5]
    for line, five in zip(said, near, strict=True):
        known = train.truth[five, 0][~np.isnan(train.truth[five, 0])]
        assert line[0] == pytest.approx(known.mean() if len(known) else np.nanmean(train.truth[:, 0]))
        assert line[1] == pytest.approx(train.truth[five, 1].mean())


def unit(points: np.ndarray) -> np.ndarray:
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def test_validation_chooses_how_many_vote() -> None:
    train, validation, test = some(0, 300), some(1, 100), some(2, 100)
    found = knn(train, validation, test.vector, neighbours=(1, 5, 20, 100))
    areas = {
        k: macro_auroc(validation.truth, votes(train, validation.vector, [k])[0]) for k in (1, 5, 20, 100)
    }
    assert found.neighbours == max(areas, key=lambda k: areas[k])
    np.testing.assert_array_equal(found.score, votes(train, test.vector, [found.neighbours])[0])


def test_fewer_records_than_neighbours() -> None:
    train, test = some(0, 4), some(1, 6)
    assert knn(train, test, test.vector).neighbours in (1, 3)
    with pytest.raises(ValueError, match="4 training records have no 50 nearest"):
        knn(train, test, test.vector, neighbours=(50, 100))
