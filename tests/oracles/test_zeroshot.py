"""Scoring by prompts, what hangs on their wording, and search between ECGs and reports, by slow loops."""

import numpy as np
import pytest

from einthoven.evaluate.scores import auroc
from einthoven.evaluate.zeroshot import find_reports, sensitivity, tells_apart, zeroshot


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_score_is_the_mean_cosine_to_what_is_there_less_that_to_what_is_not(
    rng: np.random.Generator,
) -> None:
    ecg = rng.normal(size=(7, 5))
    positive = [rng.normal(size=(count, 5)) for count in (1, 3, 2)]
    negative = [rng.normal(size=(count, 5)) for count in (2, 0, 1)]
    score = zeroshot(ecg.astype(np.float32), positive, negative)
    for record in range(7):
        for label in range(3):
            yes = np.mean([cosine(ecg[record], prompt) for prompt in positive[label]])
            no = np.mean([cosine(ecg[record], prompt) for prompt in negative[label]] or [0.0])
            assert score[record, label] == pytest.approx(yes - no, abs=1e-6)
    lengths = rng.uniform(0.1, 9, size=(7, 1))
    np.testing.assert_allclose(zeroshot(ecg * lengths, positive, negative), score, atol=1e-6)


def test_an_ecg_where_its_prompt_is_scores_highest(rng: np.random.Generator) -> None:
    corners = np.eye(4)
    score = zeroshot(corners, [corner[None] for corner in corners], [np.zeros((0, 4))] * 4)
    np.testing.assert_allclose(score, np.eye(4))
    with pytest.raises(ValueError, match="Label number 1 has no positive prompt"):
        zeroshot(corners, [corners, corners[:0]], [corners, corners])
    with pytest.raises(ValueError, match="positive prompts of 1 labels and negative of 2"):
        zeroshot(corners, [corners], [corners, corners])


def test_a_constant_answer_is_none() -> None:
    """Float32 of a collapsed network: the same but for the last bits."""
    rounding = 1e-8 * np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    collapsed = np.array([[0.6, 0.8, 0.0]], np.float32) + rounding
    prompts = [np.array([[1.0, 0, 0]]), np.array([[0, 0, 1.0]])]
    assert tells_apart(zeroshot(collapsed, prompts, [one[:0] for one in prompts])).tolist() == [False, False]
    live = np.random.default_rng(0).normal(size=(50, 3))
    nothing = [np.zeros((1, 3)), prompts[0]]
    assert tells_apart(zeroshot(live, nothing, [one[:0] for one in nothing])).tolist() == [False, True]
    assert tells_apart(np.zeros((0, 2))).tolist() == [False, False]


def test_sensitivity_is_the_spread_over_single_prompts(rng: np.random.Generator) -> None:
    ecg, truth = rng.normal(size=(60, 4)), (rng.random((60, 3)) < 0.4).astype(float)
    truth[:5, 0] = np.nan
    positive = [rng.normal(size=(count, 4)) for count in (4, 1, 3)]
    negative = [rng.normal(size=(count, 4)) for count in (2, 0, 1)]
    positive[2][1] = 0.0  # a prompt that says nothing
    negative[2] = negative[2][:0]
    found = sensitivity(ecg, positive, negative, truth)
    for label, prompts in enumerate(positive):
        alone = [zeroshot(ecg, [one[None]], [negative[label]]) for one in prompts]
        areas = np.array([auroc(truth[:, [label]], score)[0] for score in alone])
        if label == 2:
            areas[1] = np.nan
        np.testing.assert_allclose(found.auroc[label], areas)
        known = areas[~np.isnan(areas)]
        assert found.mean[label] == pytest.approx(known.mean())
        assert (found.least[label], found.most[label]) == (known.min(), known.max())
        sd = found.sd[label]
        assert np.isnan(sd) if len(known) == 1 else sd == pytest.approx(np.std(known, ddof=1))


def slow_recall(
    query: np.ndarray, gallery: np.ndarray, asks: list[str], told: list[str], k: int
) -> list[float]:
    hit = []
    for vector, text in zip(query, asks, strict=True):
        order = sorted(range(len(gallery)), key=lambda i: -cosine(vector, gallery[i]))
        hit.append(float(text in [told[i] for i in order[:k]]))
    return hit


def test_who_finds_whom_when_reports_repeat(rng: np.random.Generator) -> None:
    texts = [str(name) for name in rng.integers(0, 12, size=30)]
    different = list(dict.fromkeys(texts))
    own = np.array([different.index(text) for text in texts])
    report = rng.normal(size=(len(different), 6))
    ecg = report[own] + 0.9 * rng.normal(size=(30, 6))
    found = find_reports(ecg, report, own, ks=(1, 3, 5))
    for place, k in enumerate((1, 3, 5)):
        assert found.report.recall[:, place].tolist() == slow_recall(ecg, report, texts, different, k)
        assert found.ecg.recall[:, place].tolist() == slow_recall(report, ecg, different, texts, k)
    assert 0 < found.report.recall[:, 0].mean() < found.report.recall[:, 2].mean()
    mixed = rng.permutation(30)
    again = find_reports(ecg[mixed], report, own[mixed], ks=(1, 3, 5))
    np.testing.assert_array_equal(again.report.recall, found.report.recall[mixed])


def test_a_copy_of_the_own_report_is_right_and_never_fills_the_places() -> None:
    """Nine records share report 0; record 9 alone has report 1 and is a little nearer to report 0."""
    report = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    ecg = np.concatenate([np.tile([[1.0, 0.1]], (9, 1)), [[0.9, 0.8]]])
    own = np.array([0] * 9 + [1])
    found = find_reports(ecg, report, own, ks=(1, 2))
    assert found.report.recall[:, 0].tolist() == [1.0] * 9 + [0.0]
    assert found.report.recall[9, 1] == 1
    assert found.ecg.recall[:2].tolist() == [[1.0, 1.0], [1.0, 1.0]] and np.isnan(found.ecg.recall[2]).all()


def test_one_point_is_found_by_chance() -> None:
    found = find_reports(np.zeros((8, 3)), np.zeros((4, 3)), np.repeat(np.arange(4), 2), ks=(1,))
    np.testing.assert_allclose(found.report.recall[:, 0], 1 / 4)
    np.testing.assert_allclose(found.ecg.recall[:, 0], 1 / 4)
    with pytest.raises(ValueError, match="names reports from 0 to 3; got 1 to 9"):
        find_reports(np.zeros((2, 3)), np.zeros((4, 3)), np.array([1, 9]))
