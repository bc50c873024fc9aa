"""Supervision by what reports say, against slow loops, with a lexicon of four concepts."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import exp, log
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from einthoven.evaluate.zeroshot import zeroshot
from einthoven.methods import concepts as module
from einthoven.methods.concepts import Concepts
from pairs import Lines, batch_of

NAMES = ("af", "block", "infarct", "lvh")
ASKED: list[str] = []


def tag(texts: Sequence[str]) -> np.ndarray:
    """A concept is said by its name, hinted at by its name and a question mark."""
    ASKED.extend(texts)
    words = [text.split() for text in texts]
    return np.array([[1.0 if n in some else 0.5 * (f"{n}?" in some) for n in NAMES] for some in words])


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "lexicon", lambda: SimpleNamespace(concepts=NAMES, tag=tag))
    module.tags.cache_clear()
    ASKED.clear()
    yield
    module.tags.cache_clear()


TEXTS = ("af lvh", "", "block?", "nothing here", "af lvh", "infarct block")


def slow(method: Concepts, texts: Sequence[str], learned: Sequence[str] = NAMES) -> float:
    with torch.no_grad():
        logits = method.outputs(batch_of(*texts))["concepts"].tolist()
    terms = []
    for line, text in zip(logits, texts, strict=True):
        for name, logit in zip(NAMES, line, strict=True):
            if not text or name not in learned:
                continue
            p = 1 / (1 + exp(-logit))
            target = 1.0 if name in text.split() else 0.5 if f"{name}?" in text.split() else 0.0
            terms.append(-target * log(p) - (1 - target) * log(1 - p))
    return float(np.mean(terms))


def test_the_loss_is_that_of_the_definition() -> None:
    method = Concepts(Lines())
    loss = method(batch_of(*TEXTS))["loss"]
    assert loss.item() == pytest.approx(slow(method, TEXTS), rel=1e-5)
    loss.backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in method.parameters())


def test_who_has_no_report_takes_part_in_nothing() -> None:
    method, batch = Concepts(Lines()), batch_of(*TEXTS)
    batch.ecg.requires_grad_()
    method(batch)["loss"].backward()
    assert batch.ecg.grad is not None
    assert batch.ecg.grad.flatten(1).ne(0).any(1).tolist() == [bool(text) for text in TEXTS]
    logs = method(batch_of("", ""))
    logs["loss"].backward()
    assert logs["loss"].item() == 0
    with pytest.raises(ValueError, match="learns from reports"):
        method(replace(batch, text=None))


def test_rare_concepts_are_not_learned_and_the_rest_begin_at_their_share() -> None:
    corpus = ["af lvh", "af", "af block?", "lvh block?", "", "nothing"]
    method = Concepts(Lines(), corpus, least=2)
    assert method.learned.tolist() == [True, False, False, True]
    share = method.answer.bias.detach().sigmoid()
    torch.testing.assert_close(share, torch.tensor([3 / 5, 1 / 5, 1e-4, 2 / 5]))
    assert method(batch_of(*TEXTS))["loss"].item() == pytest.approx(
        slow(method, TEXTS, ("af", "lvh")), rel=1e-5
    )
    assert not method.read(["block infarct"]).any()
    with pytest.raises(ValueError, match="No concept is in 4 training reports"):
        Concepts(Lines(), corpus, least=4)
    with pytest.raises(ValueError, match="needs least from 0"):
        Concepts(Lines(), least=-1)


def test_reports_that_the_lexicon_cannot_read_are_refused_and_few_are_told() -> None:
    with pytest.raises(ValueError, match="finds no concept in any of 3 training reports; say .*'dual'"):
        Concepts(Lines(), ["rythme sinusal", "", "fibrillation auriculaire", "normal"])
    with pytest.warns(UserWarning, match="finds a concept in 1 of 3 training reports only"):
        Concepts(Lines(), ["rythme sinusal", "af", "normal"])


def test_each_text_is_tagged_once() -> None:
    method = Concepts(Lines(), TEXTS)
    for _ in range(3):
        method(batch_of(*TEXTS))
    assert sorted(ASKED) == sorted(set(TEXTS))


def test_the_cosine_of_a_prompt_ranks_ecgs_by_the_probability_of_what_it_says() -> None:
    method = Concepts(Lines()).eval()
    with torch.no_grad():
        outputs = method.outputs(batch_of(*["x"] * 20))
        torch.testing.assert_close(outputs["embedding"].norm(dim=1), torch.ones(20))
        prompts = method.read(["af", "lvh", "af lvh", "nothing"]).numpy()
        p = outputs["concepts"].sigmoid().numpy()
    score = zeroshot(outputs["embedding"].numpy(), [one[None] for one in prompts], [prompts[:0]] * 4)
    for place, name in ((0, 0), (1, 3)):
        assert score[:, place].argsort().tolist() == p[:, name].argsort().tolist()
        np.testing.assert_allclose(score[:, place], np.sqrt(p[:, name] / 4), rtol=1e-5)
    np.testing.assert_allclose(score[:, 2], (score[:, 0] + score[:, 1]) / 2**0.5, rtol=1e-5)
    assert not score[:, 3].any()


def test_weights_of_another_lexicon_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    method = Concepts(Lines(), TEXTS, least=1)
    again = Concepts(Lines())
    again.load_state_dict(method.state_dict())
    assert again.learned.tolist() == method.learned.tolist()
    monkeypatch.setattr(module, "lexicon", lambda: SimpleNamespace(concepts=NAMES[::-1], tag=tag))
    with pytest.raises(RuntimeError, match="another version of the lexicon"):
        Concepts(Lines()).load_state_dict(method.state_dict())


def test_a_collapse_is_told() -> None:
    method = Concepts(Lines()).eval()
    batch = batch_of(*["af", "lvh"] * 10)
    with torch.no_grad():
        assert method.alarms({name: value.item() for name, value in method(batch).items()}) == []
        method.backbone.line.weight.zero_()
        (told,) = method.alarms({name: value.item() for name, value in method(batch).items()})
    assert "every ECG looks alike" in told and method.train().alarms({}) == []


def test_what_is_said_is_learned() -> None:
    """An ECG whose first lead is high has what its report says."""
    batch = batch_of(*["af", "lvh", "af lvh", "nothing"] * 16)
    tags = torch.from_numpy(tag(batch.text or ())).float()
    batch.ecg[:, 0] += tags[:, :1]
    batch.ecg[:, 1] += tags[:, 3:]
    method = Concepts(Lines())
    learner = torch.optim.AdamW(method.parameters(), lr=1e-2)
    for _ in range(60):
        learner.zero_grad()
        method(batch)["loss"].backward()
        learner.step()
    with torch.no_grad():
        fresh = batch_of(*["x"] * 64, seed=9)
        fresh.ecg[:32, 0] += 1
        p = method.outputs(fresh)["concepts"].sigmoid()
    assert (p[:32, 0].mean() - p[32:, 0].mean()).item() > 0.3
