"""Contrastive learning from reports: losses by slow loops, what it makes of equal reports, what it learns."""

from dataclasses import replace
from math import exp, log
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from einthoven import parts
from einthoven.layers.paired import all_alike, clip, found_among, harder, hits, paired, sigmoid
from einthoven.loop import undecayed
from einthoven.methods import dual as module
from einthoven.methods.dual import Dual
from pairs import KINDS, Lines, Words, batch_of, world

CPU = torch.device("cpu")
REPEATED = ("a b", "", "c", "a b", "d", "c", "a b", "")
DIFFERENT = ("a", "b c", "d", "e f")


def method(**options: Any) -> Dual:
    torch.manual_seed(0)
    return Dual(Lines(), Words(), size=6, **options)


def places(made: Dual, texts: tuple[str, ...]) -> tuple[np.ndarray, dict[str, np.ndarray], float]:
    """Unit vectors of ECGs, of texts by name, and the batch's cosines by temperature."""
    with torch.no_grad():
        ecg = made.placed(batch_of(*texts))[1].double().numpy()
        different = list(dict.fromkeys(text for text in texts if text))
        told = dict(zip(different, made.read(different).double().numpy(), strict=True))
    return ecg, told, exp(made.sharpness.item())


def slow_clip(made: Dual, texts: tuple[str, ...], hard: float = 0.0) -> float:
    """By the definition: every different text is one column; who shares it is no negative."""
    ecg, told, sharp = places(made, texts)
    rows = [i for i, text in enumerate(texts) if text]

    def e(i: int, text: str) -> float:
        return exp(sharp * ecg[i] @ told[text])

    def weights(text: str, others: list[str]) -> list[float]:
        raw = [exp(hard * told[text] @ told[other]) for other in others]
        return [one / np.mean(raw) for one in raw]

    to_text = []
    for i in rows:
        others = [text for text in told if text != texts[i]]
        away = sum(w * e(i, t) for w, t in zip(weights(texts[i], others), others, strict=True))
        to_text.append(-log(e(i, texts[i]) / (e(i, texts[i]) + away)))
    to_ecg = []
    for text in told:
        others = [i for i in rows if texts[i] != text]
        away = sum(
            w * e(i, text) for w, i in zip(weights(text, [texts[i] for i in others]), others, strict=True)
        )
        own = [i for i in rows if texts[i] == text]
        to_ecg.append(np.mean([-log(e(i, text) / (e(i, text) + away)) for i in own]))
    return float(np.mean(to_text) + np.mean(to_ecg)) / 2


def slow_sigmoid(made: Dual, texts: tuple[str, ...], hard: float = 0.0) -> float:
    ecg, told, sharp = places(made, texts)
    assert made.bias is not None
    rows, total = [i for i, text in enumerate(texts) if text], 0.0
    for i in rows:
        others = [text for text in told if text != texts[i]]
        mean = np.mean([exp(hard * told[texts[i]] @ told[other]) for other in others])
        for text in told:
            score = sharp * ecg[i] @ told[text] + made.bias.item()
            sign = 1 if text == texts[i] else -1
            weight = 1.0 if sign > 0 else exp(hard * told[texts[i]] @ told[text]) / mean
            total += weight * log(1 + exp(-sign * score))
    return total / len(rows)


@pytest.mark.parametrize("hard", [0.0, 3.0])
@pytest.mark.parametrize("texts", [REPEATED, DIFFERENT])
@pytest.mark.parametrize("loss", ["clip", "sigmoid"])
def test_losses_are_those_of_the_definition(loss: str, texts: tuple[str, ...], hard: float) -> None:
    made = method(loss=loss, hard=hard, temperature=0.3)
    if made.bias is not None:
        torch.nn.init.constant_(made.bias, -1.0)
    slow = slow_clip if loss == "clip" else slow_sigmoid
    assert float(made(batch_of(*texts))["loss"].detach()) == pytest.approx(slow(made, texts, hard), rel=1e-5)


def test_without_repetition_it_is_the_symmetric_cross_entropy() -> None:
    score, own = torch.randn(5, 5, dtype=torch.float64), torch.eye(5, dtype=torch.bool)
    each = torch.arange(5)
    usual = (F.cross_entropy(score, each) + F.cross_entropy(score.T, each)) / 2
    torch.testing.assert_close(clip(score, own), usual)
    signs = 2 * own.double() - 1
    torch.testing.assert_close(sigmoid(score, own), -F.logsigmoid(signs * score).sum() / 5)


@pytest.mark.parametrize("options", [{}, {"hard": 2.0}, {"loss": "sigmoid"}])
def test_the_order_of_a_batch_does_not_matter(options: dict[str, Any]) -> None:
    made, batch = method(**options), batch_of(*REPEATED)
    mixed = batch.take(torch.tensor([3, 7, 0, 5, 1, 4, 6, 2]))
    torch.testing.assert_close(made(mixed)["loss"], made(batch)["loss"])


@pytest.mark.parametrize("options", [{}, {"loss": "sigmoid"}])
def test_who_has_no_report_takes_part_in_nothing(options: dict[str, Any]) -> None:
    made, batch = method(**options), batch_of(*REPEATED)
    has = torch.tensor([i for i, text in enumerate(REPEATED) if text])
    torch.testing.assert_close(made(batch)["loss"], made(batch.take(has))["loss"])
    batch.ecg.requires_grad_()
    made(batch)["loss"].backward()
    moved = batch.ecg.grad.flatten(1).ne(0).any(1)  # type: ignore[union-attr]
    assert moved.tolist() == [bool(text) for text in REPEATED]


def test_a_record_is_not_pushed_away_from_a_copy_of_its_report() -> None:
    """The gradient of a score is negative (drawn near) for all with that report, positive for all others."""
    pairs = paired(("x", "y", "x", "x"), CPU)
    assert pairs.texts == ("x", "y") and pairs.columns == 2 and pairs.column.tolist() == [0, 1, 0, 0]
    for loss in (clip, sigmoid):
        score = torch.randn(4, 2, requires_grad=True)
        loss(score, pairs.own).backward()
        assert score.grad is not None
        assert torch.equal(score.grad < 0, pairs.own) and torch.equal(score.grad > 0, ~pairs.own)


def test_a_perfect_space_costs_nothing_though_reports_repeat() -> None:
    """Soft targets over copies could never reach zero; one column for all of them does."""
    own = paired(("x", "y", "x", "z"), CPU).own
    score = torch.where(own, 40.0, -40.0)
    assert float(clip(score, own)) == pytest.approx(0, abs=1e-6)
    assert float(sigmoid(score, own)) == pytest.approx(0, abs=1e-6)
    assert float(hits(score, own)) == float(hits(score.T, own.T)) == 1
    assert float(hits(torch.zeros(4, 3), own)) == pytest.approx(1 / 3)


def test_hard_ones_count_more_and_one_on_average() -> None:
    likeness, others = torch.randn(3, 6, dtype=torch.float64), torch.rand(3, 6) < 0.7
    counts = harder(likeness, others).exp()
    torch.testing.assert_close((counts * others).sum(1), others.sum(1).double())
    for line, some, like in zip(counts, others, likeness, strict=True):
        assert line[some].argsort().tolist() == like[some].argsort().tolist()
    alike = torch.zeros(3, 6, dtype=torch.float64)
    torch.testing.assert_close(
        found_among(alike, ~others, harder(alike, others)), found_among(alike, ~others)
    )


@pytest.mark.parametrize("options", [{}, {"hard": 1.0}, {"loss": "sigmoid"}, {"same": "concepts"}])
@pytest.mark.parametrize("texts", [("", "", ""), ("a b", "", "a b"), ("a b", "a b", "a b")])
def test_fewer_than_two_reports_are_zero_with_a_gradient(
    options: dict[str, Any], texts: tuple[str, ...]
) -> None:
    made = method(**options)
    logs = made(batch_of(*texts))
    assert float(logs["loss"].detach()) == 0
    logs["loss"].backward()
    for name, weight in made.named_parameters():
        if any(texts) or not name.startswith("text"):
            assert weight.grad is not None and not weight.grad.any(), name


@pytest.mark.parametrize("options", [{}, {"hard": 1.0}, {"loss": "sigmoid"}, {"drop_text": 0.5}])
def test_every_weight_learns(options: dict[str, Any]) -> None:
    made = method(**options).train()
    made(batch_of(*REPEATED))["loss"].backward()
    still = [name for name, weight in made.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert still == []


def test_equal_meanings_share_a_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the definition: the column is the mean direction of its different texts, each once."""
    meaning = {"sinus": 1, "sinus rhythm": 1, "af": 2, "vorhofflimmern": 2, "lvh": 3}
    monkeypatch.setattr(module, "concepts", meaning.__getitem__)
    texts = ("sinus", "af", "sinus rhythm", "sinus", "vorhofflimmern", "lvh")
    made = method(same="concepts", temperature=0.5)
    ecg, told, sharp = places(made, texts)
    columns = []
    for number in (1, 2, 3):
        total = sum(vector for text, vector in told.items() if meaning[text] == number)
        columns.append(total / np.linalg.norm(total))
    score = torch.from_numpy(sharp * ecg @ np.stack(columns).T)
    own = torch.tensor([[meaning[text] == number for number in (1, 2, 3)] for text in texts])
    torch.testing.assert_close(
        made(batch_of(*texts))["loss"].double(), clip(score, own), rtol=1e-5, atol=1e-6
    )


def test_a_text_in_which_the_lexicon_finds_nothing_stands_for_itself() -> None:
    assert module.concepts("qqqq one") != module.concepts("qqqq two")
    said = module.lexicon().entries
    assert said and module.concepts("qqqq one") == "qqqq one"


def test_answers_need_no_report_and_vectors_are_unit() -> None:
    made, batch = method(loss="sigmoid").eval(), batch_of(*REPEATED)
    with torch.no_grad():
        whole, alone = made.outputs(batch), made.outputs(replace(batch, text=None))
        assert sorted(alone) == ["embedding", "features"]
        torch.testing.assert_close(alone["embedding"], whole["embedding"])
        torch.testing.assert_close(whole["embedding"].norm(dim=1), torch.ones(8))
        told = whole["text_embedding"]
        for line, text in zip(told, REPEATED, strict=True):
            torch.testing.assert_close(line, made.read([text])[0] if text else torch.zeros(6))
        assert not made.outputs(batch_of("", ""))["text_embedding"].any()


def test_scores_are_float32_under_autocast() -> None:
    made, batch = method(), batch_of(*REPEATED)
    with torch.autocast("cpu", torch.bfloat16):
        logs = made(batch)
        assert made.outputs(batch)["embedding"].dtype == torch.float32
    assert logs["loss"].dtype == torch.float32
    torch.testing.assert_close(logs["loss"], made(batch)["loss"], rtol=0.02, atol=0.02)


def test_the_temperature_learns_within_bounds_and_does_not_decay() -> None:
    made = method(temperature=0.02)
    assert float(made.sharpness.detach().exp()) == pytest.approx(50)
    for far, held in ((9.0, 100.0), (-3.0, 1.0)):
        torch.nn.init.constant_(made.sharpness, far)
        made.after_step(0.5)
        assert float(made.sharpness.detach().exp()) == pytest.approx(held)
    for options in ({}, {"loss": "sigmoid"}):
        made = method(**options)
        assert undecayed(made) == {weight for weight in made.parameters() if not weight.ndim}


@pytest.mark.parametrize(
    "wrong", [{"size": 1}, {"hard": -1.0}, {"drop_text": 1.0}, {"temperature": 0.0}, {"temperature": 0.005}]
)
def test_what_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Method 'dual' needs"):
        parts.build("methods", {"name": "dual", **wrong}, backbone=Lines(), text=Words())


def test_a_batch_without_reports_is_told() -> None:
    with pytest.raises(ValueError, match="learns from reports"):
        method()(replace(batch_of("a", "b"), text=None))


def test_a_collapse_of_either_side_is_told() -> None:
    made = method().eval()
    with torch.no_grad():
        logs = {name: float(value) for name, value in made(world(64, 3)).items()}
        assert made.alarms(logs) == [] and {"ecg_sd", "ecg_rank", "text_sd", "text_rank"} <= logs.keys()
        made.text_side.weight.zero_()
        logs = {name: float(value) for name, value in made(world(64, 3)).items()}
        (told,) = made.alarms(logs)
        assert "every report looks alike" in told
        made.ecg_side.weight.zero_()
        logs = {name: float(value) for name, value in made(world(64, 3)).items()}
    assert len(made.alarms(logs)) == 2 and "every ECG looks alike" in made.alarms(logs)[0]
    assert all_alike({}, {"ecg": "ECG"}) == [] and made.train().alarms({"loss": 1.0}) == []


@pytest.mark.parametrize("loss", ["clip", "sigmoid"])
def test_aligned_pairs_are_learned_and_shuffled_ones_are_not(loss: str) -> None:
    """Of 40 kinds of ECG, each with its text, chance finds 1 in 40."""
    found = {}
    for shuffled in (False, True):
        torch.manual_seed(0)
        made, train = Dual(Lines(), Words(), loss=loss, size=16), world(1000, 1, shuffled=shuffled)
        learner = torch.optim.AdamW(made.parameters(), lr=3e-3)
        for _ in range(150):
            learner.zero_grad()
            made(train.take(torch.randint(1000, (64,))))["loss"].backward()
            learner.step()
            made.after_step(0.0)
        with torch.no_grad():
            found[shuffled] = float(made.eval()(world(400, 2))["report_found"])
    assert found[False] > 6 / KINDS and found[True] < 3 / KINDS
