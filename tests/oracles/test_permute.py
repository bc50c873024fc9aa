"""Permutation tests: against all swaps there are, p uniform without a difference, power with one."""

from itertools import combinations, product

import numpy as np
import pytest

from einthoven.evaluate import auroc, macro, macro_auroc, regression, rmse
from einthoven.evaluate.metric import macro_of
from einthoven.evaluate.permute import Group, permute_groups, permute_models, ranks


def cohort(seed: int, patients: int = 60, *, noise: tuple[float, float] = (1.0, 1.0), labels: int = 1):
    random = np.random.default_rng(seed)
    who = np.repeat(np.arange(patients), random.integers(1, 4, patients))
    truth = (random.random((patients, labels)) < 0.5).astype(float)[who]
    shared = truth + random.normal(0, 0.5, (patients, labels))[who]
    a, b = (shared + random.normal(0, sd, (patients, labels))[who] for sd in noise)
    return truth, a, b, who.astype(str)


def test_p_is_the_share_of_all_swaps_that_differ_as_much() -> None:
    truth, a, b, patient = cohort(1, 8)
    names = np.unique(patient)
    a, b = ranks(truth, a), ranks(truth, b)
    gaps = []
    for sides in product((False, True), repeat=len(names)):
        swap = np.isin(patient, names[list(sides)])[:, None]
        gaps.append(macro_auroc(truth, np.where(swap, a, b)) - macro_auroc(truth, np.where(swap, b, a)))
    exact = (np.abs(gaps) >= abs(gaps[0]) - 1e-12).mean()
    found = permute_models(macro_auroc, truth, a, b, patient, permutations=20_000)
    assert found.difference == pytest.approx(gaps[0])
    assert found.p == pytest.approx(exact, abs=0.015)


def test_a_plain_function_and_a_metric_agree() -> None:
    truth, a, b, patient = cohort(2, 30, labels=2)
    fast = permute_models(rmse, truth, a, b, patient, permutations=80)
    slow = permute_models(
        lambda t, s: np.sqrt(np.square(t - s).mean(0)), truth, a, b, patient, permutations=80
    )
    np.testing.assert_allclose(fast.difference, slow.difference)
    np.testing.assert_array_equal(fast.p, slow.p)
    assert fast.p.shape == (2,)


def uniform(p: np.ndarray) -> None:
    """Without a difference p falls below each level about as often as the level says."""
    for level in (0.05, 0.2, 0.5):
        spread = 3.5 * np.sqrt(level * (1 - level) / len(p))
        assert abs((p <= level).mean() - level) < spread, (level, (p <= level).mean())


def test_models_p_is_uniform_where_both_are_as_good() -> None:
    uniform(
        np.array([permute_models(macro_auroc, *cohort(s), permutations=99, seed=s).p for s in range(250)])
    )


def test_models_p_is_uniform_whatever_the_scale_of_their_scores() -> None:
    told = []
    for seed in range(250):
        truth, a, b, patient = cohort(seed)
        told.append(permute_models(macro_auroc, truth, a, 100 * b - 7, patient, permutations=99, seed=seed).p)
    uniform(np.array(told))


def numbers(seed: int, noise: float, unit: float) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(seed)
    truth = random.normal(0, 1, (60, 1))
    a, b = truth + random.normal(0, 1, (60, 1)), unit * (truth + random.normal(0, noise, (60, 1))) - unit
    truth[::7] = np.nan  # and with it what the scores mean
    b[::7] = 1e9
    return truth, a, b, np.arange(60).astype(str)


def test_correlations_are_compared_whatever_the_unit_of_the_scores() -> None:
    r = macro_of(regression.pearson)
    uniform(
        np.array([permute_models(r, *numbers(s, 1.0, 10.0), permutations=99, seed=s).p for s in range(200)])
    )
    strong = [numbers(s, 0.2, 10.0) for s in range(20)]
    found = [permute_models(r, *pair, permutations=99) for pair in strong]
    assert np.mean([one.p <= 0.05 for one in found]) > 0.9
    truth, a, b, patient = strong[0]
    assert found[0].difference == pytest.approx(r(truth, b) - r(truth, a))
    other = permute_models(r, truth, 0.01 * a + 4, b, patient, permutations=99)
    assert (other.difference, other.p) == (pytest.approx(found[0].difference), found[0].p)
    constant = permute_models(r, truth, 0 * a, b, patient, permutations=9)
    assert np.isnan(constant.difference) and np.isnan(constant.p)


def test_groups_p_is_uniform_where_both_are_alike() -> None:
    told = []
    for seed in range(250):
        truth, a, _, patient = cohort(seed)
        member = np.random.default_rng(seed).random(60)[patient.astype(int)] < 0.4
        told.append(
            permute_groups(macro_auroc, truth, a, Group(member, patient), permutations=99, seed=seed).p
        )
    uniform(np.array(told))


def test_a_difference_is_seen() -> None:
    strong = [
        permute_models(macro_auroc, *cohort(s, 200, noise=(3.0, 0.5)), permutations=199) for s in range(20)
    ]
    assert all(found.p < 0.05 and found.difference > 0 for found in strong)
    told = []
    for seed in range(20):
        truth, good, bad, patient = cohort(seed, 300, noise=(0.3, 4.0))
        member = patient.astype(int) % 2 == 0
        score = np.where(member[:, None], good, bad)
        told.append(permute_groups(macro_auroc, truth, score, Group(member, patient), permutations=199))
    assert all(found.p < 0.05 and found.difference > 0 for found in told)


def test_repeating_a_patients_records_proves_nothing() -> None:
    truth, a, b, patient = cohort(4, noise=(1.4, 1.0))
    once = permute_models(macro_auroc, truth, a, b, patient, permutations=200)
    many = permute_models(
        macro_auroc, *(np.repeat(x, 10, axis=0) for x in (truth, a, b, patient)), permutations=200
    )
    assert many.p == once.p and many.difference == pytest.approx(once.difference)


def test_p_is_never_zero_and_one_without_any_difference() -> None:
    truth, a, b, patient = cohort(0, 200, noise=(9.0, 0.1))
    assert permute_models(macro_auroc, truth, a, b, patient, permutations=99).p == 0.01
    assert permute_models(macro_auroc, truth, a, a, patient, permutations=99).p == 1.0


def test_ranks_change_no_auroc_and_leave_unknown_truth_out() -> None:
    truth, a, b, patient = cohort(3, labels=2)
    truth[::3, 0] = np.nan
    found = permute_models(auroc, truth, a, b, patient, permutations=50)
    np.testing.assert_allclose(found.difference, auroc(truth, b) - auroc(truth, a))
    known = ~np.isnan(truth[:, 0])
    alone = permute_models(auroc, truth[known][:, :1], a[known][:, :1], b[known][:, :1], patient[known])
    np.testing.assert_allclose(found.difference[0], alone.difference[0])


def test_the_macro_difference_is_over_labels_that_both_groups_have() -> None:
    truth, a, _, patient = cohort(5, labels=3)
    member = patient.astype(int) % 3 == 0
    truth[member, 2] = 0.0  # the group has no positive of the third label
    found = permute_groups(auroc, truth, a, Group(member, patient), macro=True, permutations=50)
    gap = auroc(truth[member], a[member]) - auroc(truth[~member], a[~member])
    assert np.isnan(gap[2]) and found.difference == pytest.approx(macro(gap))
    alone = permute_groups(auroc, truth, a, Group(member, patient), permutations=50)
    assert np.isnan(alone.p[2]) and np.isfinite(alone.p[:2]).all()


def rare(members: int, positives: int) -> tuple[np.ndarray, np.ndarray, Group]:
    """Fourteen patients, few of whom have the label; the first is a member, the last is not."""
    truth = np.zeros((14, 1))
    truth[:: 13 // (positives - 1)] = 1.0
    score = np.random.default_rng(1).normal(size=(14, 1)) + truth
    return truth, score, Group(np.arange(14) < members, np.arange(14).astype(str))


def test_permutations_without_a_difference_say_nothing_of_one() -> None:
    truth, score, group = rare(5, 3)
    gaps = []
    for some in combinations(range(14), 5):
        inside = np.isin(np.arange(14), some)
        if truth[inside].any() and truth[~inside].any():
            gaps.append(
                macro_auroc(truth[inside], score[inside]) - macro_auroc(truth[~inside], score[~inside])
            )
    assert 1000 < len(gaps) < 1750 < 2002  # of all there are
    found = permute_groups(macro_auroc, truth, score, group, permutations=6_000)
    exact = (np.abs(gaps) >= abs(found.difference) - 1e-12).mean()
    assert found.p == pytest.approx(exact, abs=0.015)


def test_no_p_where_most_permutations_have_no_difference() -> None:
    truth, score, group = rare(2, 2)
    found = permute_groups(auroc, truth, score, group, permutations=200)
    assert np.isfinite(found.difference[0]) and np.isnan(found.p[0])


def test_members_trade_places_within_their_stratum_only() -> None:
    # All members are ill, the model knows the ill no better: without strata every shuffle differs from this.
    random = np.random.default_rng(0)
    patient, ill = np.arange(200).astype(str), np.arange(200) < 100
    member = ill & (random.random(200) < 0.5)
    truth, score = (
        (random.random((200, 1)) < 0.5).astype(float),
        random.normal(size=(200, 1)) + 5.0 * ill[:, None],
    )

    def level(t: np.ndarray, s: np.ndarray) -> float:
        return float(s.mean())

    loose = permute_groups(level, truth, score, Group(member, patient), permutations=99)
    strict = permute_groups(level, truth, score, Group(member, patient, ill), permutations=99)
    assert loose.p == 0.01 and strict.difference == loose.difference
    # Within the ill, the members' mean is one draw of many.
    gaps = [score[ill][random.permutation(100)[: member.sum()]].mean() for _ in range(500)]
    assert np.percentile(gaps, 0.1) < score[member].mean() < np.percentile(gaps, 99.9)
    assert strict.p > 0.02


@pytest.mark.parametrize(("strata", "told"), [(None, "the group and the rest"), ([0, 1, 0, 0], "two strata")])
def test_a_patient_on_both_sides_is_refused(strata: list[int] | None, told: str) -> None:
    member = np.array([True, strata is not None, False, False])
    group = Group(member, np.array(["x", "x", "y", "z"]), None if strata is None else np.array(strata))
    with pytest.raises(ValueError, match=f"Patient 'x' stands in {told}"):
        permute_groups(rmse, np.ones((4, 1)), np.zeros((4, 1)), group)
