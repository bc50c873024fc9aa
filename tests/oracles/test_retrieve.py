"""Retrieval against its definition: every order of every tie, and another library where it is installed."""

from itertools import permutations

import numpy as np
import pytest

from einthoven.evaluate import nearest
from einthoven.evaluate.metric import Metric
from einthoven.evaluate.nearest import Vectors, label_sets
from einthoven.evaluate.retrieve import mean_score, retrieve


def some(seed: int, records: int, *, dim: int = 3, patients: int = 1000, whole: bool = False) -> Vectors:
    random = np.random.default_rng(seed)
    points = random.integers(-1, 2, (records, dim)) if whole else random.normal(size=(records, dim))
    truth = (random.random((records, 2)) < 0.5).astype(float)
    return Vectors(points.astype(np.float32), truth, random.integers(0, patients, records).astype(str))


def by_definition(query: np.ndarray, gallery: np.ndarray, relevant: np.ndarray, distance: str) -> list[float]:
    """Recall@1, 2, 4, MAP@R and R-precision of one query, averaged over all orders that ties allow."""
    if distance == "cosine":
        lengths = [max(float(np.linalg.norm(x)), 1e-30) for x in gallery]
        own = max(float(np.linalg.norm(query)), 1e-30)
        far = [round(1 - float(x @ query) / own / n, 9) for x, n in zip(gallery, lengths, strict=True)]
    else:
        far = [round(float(np.square(x - query).sum()), 9) for x in gallery]
    count = int(relevant.sum())
    if not count:
        return [np.nan] * 5
    told = []
    for order in permutations(range(len(gallery))):
        if [far[i] for i in order] != sorted(far):
            continue
        hits = [bool(relevant[i]) for i in order]
        at_r = [sum(hits[: i + 1]) / (i + 1) for i in range(count) if hits[i]]
        recalls = [float(any(hits[:k])) for k in (1, 2, 4)]
        told.append([*recalls, sum(at_r) / count, sum(hits[:count]) / count])
    return np.mean(told, axis=0).tolist()


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("relevant", ["identical", "shared"])
@pytest.mark.parametrize("seed", range(4))
def test_is_the_mean_over_all_orders_of_its_ties(seed: int, relevant: str, distance: str) -> None:
    query, gallery = some(seed, 6, whole=True), some(seed + 50, 6, whole=True)  # points of a grid: many ties
    found = retrieve(query, gallery, relevant=relevant, distance=distance, ks=(1, 2, 4), same_patient=True)
    mine = np.column_stack([found.recall, found.map_at_r, found.r_precision])
    for line, x, y in zip(mine, query.vector, query.truth, strict=True):
        same = (gallery.truth == y).all(1) if relevant == "identical" else (gallery.truth * y).sum(1) > 0
        np.testing.assert_allclose(line, by_definition(x, gallery.vector, same, distance), atol=1e-12)


def test_a_worked_example() -> None:
    # Nearest first: wrong, right, right; two to find. Precision at place 2 is 1/2, and place 3 is past R.
    gallery = Vectors(
        np.array([[1.0], [2.0], [3.0]]), np.array([[0.0], [1.0], [1.0]]), np.array(["a", "b", "c"])
    )
    query = Vectors(np.array([[0.0]]), np.array([[1.0]]), np.array(["d"]))
    found = retrieve(query, gallery, distance="euclidean", ks=(1, 2))
    assert found.recall.tolist() == [[0.0, 1.0]]
    assert (found.map_at_r[0], found.r_precision[0]) == (0.25, 0.5)


def test_recalls_stand_in_the_order_that_is_asked_for() -> None:
    test, gallery = some(0, 20), some(1, 60)
    rising, mixed = (retrieve(test, gallery, ks=ks).recall for ks in ((1, 3, 10), (10, 1, 3)))
    np.testing.assert_array_equal(mixed, rising[:, [2, 0, 1]])
    far = Vectors(np.array([[1.0], [2.0]]), np.array([[0.0], [1.0]]), np.array(["a", "b"]))
    query = Vectors(np.array([[0.0]]), np.array([[1.0]]), np.array(["c"]))
    assert retrieve(query, far, distance="euclidean", ks=(2, 1)).recall.tolist() == [[1.0, 0.0]]


def test_a_vector_far_out_makes_no_others_tie() -> None:
    test, gallery = some(0, 20), some(1, 60)
    far = np.vstack([gallery.vector, np.full((1, 3), 3e8, np.float32)])
    truth, patient = np.vstack([gallery.truth, [[2.0, 2.0]]]) * 1.0, np.append(gallery.patient, "far")
    truth[-1] = np.nan  # nobody's to find
    before = retrieve(test, gallery, distance="euclidean")
    after = retrieve(test, Vectors(far, truth, patient), distance="euclidean")
    np.testing.assert_array_equal(before.map_at_r, after.map_at_r)
    np.testing.assert_array_equal(before.recall, after.recall)


def test_without_a_gallery_each_query_searches_the_others_but_never_itself() -> None:
    test = some(3, 60, patients=30)
    found = retrieve(test, same_patient=True)
    for place in (0, 17, 59):
        others = np.arange(60) != place
        alone = retrieve(test.take(~others), test.take(others), same_patient=True)
        np.testing.assert_allclose(found.recall[place], alone.recall[0])
        np.testing.assert_allclose(found.map_at_r[place], alone.map_at_r[0])


def test_a_patients_own_records_are_hidden_from_labels_unless_asked_for() -> None:
    random = np.random.default_rng(0)
    point = random.normal(size=(40, 4))
    both = Vectors(
        np.repeat(point, 2, axis=0) + random.normal(0, 1e-3, (80, 4)),  # two ECGs of a patient lie close
        np.repeat((random.random((40, 1)) < 0.5).astype(float), 2, axis=0),
        np.repeat(np.arange(40), 2).astype(str),
    )
    assert retrieve(both, same_patient=True).recall[:, 0].mean() == 1.0  # the leak
    assert 0.3 < retrieve(both).recall[:, 0].mean() < 0.7
    assert retrieve(both, relevant="patient").recall[:, 0].mean() == 1.0


def test_hidden_records_count_neither_as_found_nor_as_places() -> None:
    test = some(5, 50, patients=12)
    found = retrieve(test)
    for place in (0, 30):
        others = test.patient != test.patient[place]
        alone = retrieve(test.take(np.array([place])), test.take(others))
        np.testing.assert_allclose(found.map_at_r[place], alone.map_at_r[0])


def test_a_collapsed_embedding_scores_as_chance_whatever_the_order_and_the_noise() -> None:
    test, gallery = some(0, 30), some(1, 200)
    gallery.truth[:, 1] = (np.arange(200) < 150).astype(float)  # the order of records tells the label
    gallery.patient[:] = "another"
    chance = retrieve(test.collapsed(), gallery.collapsed())
    share = [(gallery.truth == y).all(1).mean() for y in test.truth]
    np.testing.assert_allclose(chance.recall[:, 0], share)
    np.testing.assert_allclose(chance.r_precision, share)
    same = np.float32([0.3, -0.7, 0.2])
    noise = np.random.default_rng(2).uniform(1 - 3e-8, 1 + 3e-8, (230, 3))
    near = [(same * part).astype(np.float32) for part in (noise[:30], noise[30:])]
    for distance in ("cosine", "euclidean"):
        found = retrieve(
            Vectors(near[0], test.truth, test.patient),
            Vectors(near[1], gallery.truth, gallery.patient),
            distance=distance,
        )
        np.testing.assert_allclose(found.map_at_r, chance.map_at_r)


def test_unknown_labels_neither_ask_nor_are_found() -> None:
    test, gallery = some(0, 20), some(1, 40)
    gallery.truth[:10, 0] = np.nan
    test.truth[3] = np.nan
    found = retrieve(test, gallery)
    without = retrieve(test, gallery.take(np.arange(10, 40)))
    assert np.isnan(found.map_at_r[3])
    np.testing.assert_array_equal(found.map_at_r, without.map_at_r)
    np.testing.assert_array_equal(found.recall, without.recall)


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    test, gallery = some(0, 23), some(1, 31)
    whole = retrieve(test, gallery, relevant="shared")
    monkeypatch.setattr(nearest, "ENTRIES", 70)
    for a, b in zip(whole, retrieve(test, gallery, relevant="shared"), strict=True):
        np.testing.assert_allclose(a, b)


def test_turning_and_stretching_the_space_changes_nothing() -> None:
    test, gallery = some(0, 20), some(1, 60)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0] * 7.0
    for distance in ("cosine", "euclidean"):
        turned = [Vectors(part.vector @ turn, part.truth, part.patient) for part in (test, gallery)]
        before, after = retrieve(test, gallery, distance=distance), retrieve(*turned, distance=distance)
        np.testing.assert_allclose(before.map_at_r, after.map_at_r)


def test_numbers_have_no_equal_labels() -> None:
    test = some(0, 5)
    with pytest.raises(ValueError, match="retrieve by patient"):
        retrieve(Vectors(test.vector, test.truth * 7.5, test.patient))


def test_an_embedding_with_nan_is_refused() -> None:
    test = some(0, 5)
    test.vector[2, 1] = np.nan
    with pytest.raises(ValueError, match="record 2 holds NaN"):
        retrieve(test)


def test_the_mean_of_queries_leaves_out_those_without_a_score() -> None:
    assert isinstance(mean_score, Metric)
    truth, score = np.array([0.0, np.nan, 0.0]), np.array([1.0, 9.0, 0.5])
    assert mean_score(truth, score) == 0.75


def test_agrees_with_pytorch_metric_learning() -> None:
    calculators = pytest.importorskip("pytorch_metric_learning.utils.accuracy_calculator")
    torch = pytest.importorskip("torch")
    query, gallery = some(0, 60, dim=6), some(1, 200, dim=6)
    both = label_sets(np.vstack([query.truth, gallery.truth]))

    def nearest_first(asked, k, among, same_source):  # theirs wants faiss; this is all that it needs of it
        return None, torch.cdist(asked.double(), among.double()).argsort(dim=1)[:, :k]

    theirs = calculators.AccuracyCalculator(
        include=("precision_at_1", "r_precision", "mean_average_precision_at_r"),
        k="max_bin_count",
        knn_func=nearest_first,
        device=torch.device("cpu"),
    ).get_accuracy(
        torch.from_numpy(query.vector),
        torch.from_numpy(both[:60]),
        torch.from_numpy(gallery.vector),
        torch.from_numpy(both[60:]),
        False,
    )
    found = retrieve(query, gallery, distance="euclidean", same_patient=True)
    assert found.recall[:, 0].mean() == pytest.approx(theirs["precision_at_1"])
    assert found.r_precision.mean() == pytest.approx(theirs["r_precision"])
    assert found.map_at_r.mean() == pytest.approx(theirs["mean_average_precision_at_r"])
