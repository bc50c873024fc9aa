"""Agreement of clusters against scikit-learn, and the interval against what other patients give."""

import numpy as np
import pytest
from sklearn.cluster import HDBSCAN
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from einthoven.evaluate.agreement import agreement, contingency, jackknife, purity, shuffled
from einthoven.evaluate.cluster import classes_of, cluster, hdbscan


@pytest.mark.parametrize("seed", range(5))
def test_agreement_is_that_of_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    a = random.integers(0, 4, 90)
    b = np.where(random.random(90) < 0.2 * seed, a, random.integers(0, 6, 90))
    nmi, ari, pure = agreement(contingency(a, b))
    assert pure == pytest.approx(sum(np.bincount(a[b == group]).max() for group in np.unique(b)) / len(a))
    assert nmi == pytest.approx(normalized_mutual_info_score(a, b))
    assert ari == pytest.approx(adjusted_rand_score(a, b))


@pytest.mark.parametrize(
    ("b", "told"), [([0, 0, 0, 0], (0, 0)), ([1, 1, 0, 0], (1, 1)), ([0, 1, 2, 3], None)]
)
def test_one_cluster_the_same_clusters_and_one_for_each(b: list[int], told: tuple[int, int] | None) -> None:
    a = np.array([0, 0, 1, 1])
    found = agreement(contingency(a, np.array(b)))
    told = told or (normalized_mutual_info_score(a, b), adjusted_rand_score(a, b))
    assert found[:2].tolist() == pytest.approx(list(told))


def test_purity_is_that_of_the_worked_example() -> None:
    """Three clusters of 17 documents, of which the commonest classes hold 5, 4 and 3: 12 / 17."""
    table = np.array([[5.0, 1, 2], [1, 4, 0], [0, 1, 3]])  # Manning et al. 2008, figure 16.4
    assert purity(table) == pytest.approx(12 / 17)


def groups(seed: int, gap: float, *, patients: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    who = np.repeat(np.arange(patients), random.integers(1, 4, patients))
    classes = (who % 3).astype(np.int64)
    centres = gap * np.eye(3, 8)
    return centres[classes] + random.normal(0, 1, (len(who), 8)), classes, who.astype(str)


def test_clear_groups_are_found_and_none_are_not() -> None:
    kept = {"distance": "euclidean", "seed": 1}
    points, classes, patient = groups(0, 30.0)
    clear = cluster(points, classes, patient, **kept)
    assert clear.nmi.value == clear.ari.value == pytest.approx(1.0)
    assert clear.clusters == 3 and clear.sd[0] < 0.5
    points, classes, patient = groups(0, 0.0)
    none = cluster(points, classes, patient, **kept)
    assert none.nmi.value < 0.1 and none.nmi.low < none.chance[0] + 0.02
    assert abs(none.chance[1]) < 0.02


def test_chance_keeps_a_patients_records_together() -> None:
    """Five ECGs of each of 40 patients, and classes that say nothing: what is found is what chance gives."""
    found, chance = [], []
    for seed in range(30):
        random = np.random.default_rng(seed)
        who = np.repeat(np.arange(40), 5)
        classes = random.integers(0, 2, 40)[who]
        points = random.normal(0, 1, (40, 8))[who] + random.normal(0, 0.05, (200, 8))
        told = cluster(points, classes, who.astype(str), distance="euclidean", starts=1)
        found.append((told.nmi.value, told.ari.value))
        chance.append(told.chance[:2])
    assert np.mean(chance, axis=0) == pytest.approx(np.mean(found, axis=0), abs=0.008)
    assert np.mean(chance, axis=0).min() > 0.012  # records that are shuffled one by one give .004 and 0


def test_patients_swap_classes_and_records_stay_where_they_are() -> None:
    patient = np.array(list("abbcccab"))
    named = np.array([0, 1, 2, 3, 4, 5, 6, 7])  # each record's class says whose it was
    owns = {"a": [0, 6], "b": [1, 2, 7], "c": [3, 4, 5]}
    seen = set()
    for mixed in shuffled(named, patient, 0):
        donors = [next(who for who, own in owns.items() if mixed[own0[0]] in own) for own0 in owns.values()]
        assert sorted(donors) == ["a", "b", "c"]
        for donor, own in zip(donors, owns.values(), strict=True):
            assert mixed[own].tolist() == (owns[donor] * 2)[: len(own)]
        seen.add(tuple(donors))
    assert len(seen) == 6


def test_of_one_patient_nobody_knows_the_interval_nor_the_chance() -> None:
    points, classes, patient = groups(0, 30.0)
    found = cluster(points, classes, np.full_like(patient, "one"), distance="euclidean")
    assert found.nmi.value == found.ari.value == 1.0
    assert np.isnan([*found.nmi[1:], *found.ari[1:], *found.chance]).all()


def test_the_jackknife_leaves_out_each_patient_once() -> None:
    _, classes, patient = groups(3, 2.0, patients=25)
    found = np.where(np.random.default_rng(0).random(len(classes)) < 0.6, classes, 0)
    without = []
    for who in np.unique(patient):
        rest = patient != who
        without.append(
            (
                normalized_mutual_info_score(classes[rest], found[rest]),
                adjusted_rand_score(classes[rest], found[rest]),
                sum(np.bincount(classes[rest & (found == one)]).max() for one in range(3)) / rest.sum(),
            )
        )
    spread = np.array(without)
    error = np.sqrt(24 / 25 * np.square(spread - spread.mean(0)).sum(0))
    for place, interval in enumerate(jackknife(classes, found, patient)):
        assert interval.high - interval.value == pytest.approx(1.96 * error[place], abs=1e-9)


def test_repeating_a_patients_records_does_not_narrow_the_interval() -> None:
    _, classes, patient = groups(3, 2.0)
    found = np.where(np.random.default_rng(0).random(len(classes)) < 0.6, classes, 0)
    once = jackknife(classes, found, patient)
    tenfold = jackknife(*(np.repeat(x, 10) for x in (classes, found, patient)))
    assert tenfold[0].high - tenfold[0].low == pytest.approx(once[0].high - once[0].low, rel=0.02)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    def draw(random: np.random.Generator, patients: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        who = np.repeat(np.arange(patients), 2)
        named = random.integers(0, 3, patients)
        seen = np.where(random.random(patients) < 0.5, named, random.integers(0, 3, patients))
        return named[who], seen[who], who.astype(str)

    truth = agreement(contingency(*draw(np.random.default_rng(0), 200_000)[:2]))
    held = np.zeros(3)
    for seed in range(200):
        for place, interval in enumerate(jackknife(*draw(np.random.default_rng(seed + 1), 150))):
            held[place] += interval.low <= truth[place] <= interval.high
    assert (held / 200 > 0.88).all(), held / 200


def test_records_without_a_class_take_no_part() -> None:
    points, classes, patient = groups(0, 4.0)
    classes[::4] = -1
    points[::4] = 1e6
    some = classes >= 0
    a = cluster(points, classes, patient, distance="euclidean")
    b = cluster(points[some], classes[some], patient[some], distance="euclidean")
    assert a == b and a.records == some.sum()


def test_a_collapsed_embedding_agrees_with_nothing() -> None:
    _, classes, patient = groups(0, 0.0)
    for way in ("k-means", "HDBSCAN"):
        found = cluster(np.zeros((len(classes), 2)), classes, patient, way=way)
        assert found.nmi.value == 0.0 and found.ari.value == 0.0
        assert found.purity.value == np.bincount(classes).max() / len(classes)


def test_several_labels_make_a_class_of_those_with_exactly_one() -> None:
    assert classes_of(np.array([[1.0, 0], [0, 1], [1, 1], [0, 0], [1, np.nan]])).tolist() == [
        0,
        1,
        -1,
        -1,
        -1,
    ]
    assert classes_of(np.array([[1.0], [0], [np.nan]])).tolist() == [1, 0, -1]


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="have 1"):
        cluster(np.eye(4), np.zeros(4, np.int64), np.arange(4).astype(str))


def test_hdbscan_is_that_of_scikit_learn_with_noise_as_one_cluster_more() -> None:
    points, classes, patient = groups(0, 12.0)
    points[::5] = np.random.default_rng(1).uniform(-60, 60, points[::5].shape)  # far from all
    found = cluster(points, classes, patient, way="HDBSCAN", distance="euclidean", smallest=6)
    theirs = HDBSCAN(min_cluster_size=6, copy=True).fit_predict(points)
    assert found.clusters == theirs.max() + 1 == 3 and (theirs == -1).any()
    assert found.noise.value == pytest.approx((theirs == -1).mean())
    assert found.nmi.value == pytest.approx(normalized_mutual_info_score(classes, theirs))
    assert found.ari.value == pytest.approx(adjusted_rand_score(classes, theirs))
    without = np.array([(theirs[patient != who] == -1).mean() for who in np.unique(patient)])
    error = np.sqrt((len(without) - 1) * np.square(without - without.mean()).mean())
    assert found.noise.high == pytest.approx(min(1.0, found.noise.value + 1.96 * error))
    assert found.nmi.low < found.nmi.value < found.nmi.high and found.purity.value > found.chance[2]


def test_who_calls_everything_noise_agrees_with_nothing() -> None:
    points, classes, patient = groups(0, 12.0)
    found = cluster(points, classes, patient, way="HDBSCAN", smallest=len(points) - 1)
    assert found.nmi.value == found.ari.value == 0.0 and found.clusters == 0 and found.noise.value == 1.0
    assert hdbscan(points[:4], 5).groups == 1


def test_without_noise_its_share_is_zero() -> None:
    points, classes, patient = groups(0, 40.0)
    found = cluster(points, classes, patient, way="HDBSCAN", distance="euclidean", smallest=20)
    assert tuple(found.noise) == (0.0, 0.0, 0.0) and found.clusters == 3 and found.ari.value == 1.0


def test_a_cluster_of_hdbscan_is_a_hundredth_of_the_records_but_at_least_five() -> None:
    points, classes, patient = groups(0, 2.0)
    told = [cluster(points, classes, patient, way="HDBSCAN", smallest=size) for size in (0, 5)]
    assert told[0] == told[1]
    many = (np.tile(x, reps) for x, reps in ((points, (8, 1)), (classes, 8), (patient, 8)))
    points, classes, patient = many
    points = points + np.random.default_rng(0).normal(0, 0.3, points.shape)
    told = [cluster(points, classes, patient, way="HDBSCAN", smallest=s) for s in (0, len(points) // 100)]
    assert told[0] == told[1] and len(points) // 100 > 5
