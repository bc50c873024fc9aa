"""Method `fusion`: three answers and what each may know; attention against torch's and its published bug."""

from collections.abc import Sequence
from dataclasses import replace
from zlib import crc32

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from einthoven import parts
from einthoven.layers.beside import Ask, Words
from einthoven.layers.several import Heads, Losses
from einthoven.loop import Learner, Schedule, fit
from einthoven.methods.direct import Direct
from einthoven.methods.fusion import WithReport
from einthoven.types import Backbone, Batch, Signal, Text, Tokens

WANTS, LABELS = Signal(seconds=0.64), 3
TEXTS = ("sinus rhythm", "old infarct, anterior wall", "", "left bundle branch block", "", "normal")
TOLD = torch.tensor([0, 1, 3, 5])
every = pytest.mark.parametrize("name", parts.names("fusions"))


class PerWord(Text):
    """A learned vector per word; a batch without any has no column at all."""

    def __init__(self, dim: int = 6):
        super().__init__()
        self.dim, self.vectors = dim, nn.Embedding(64, dim)

    def forward(self, texts: Sequence[str]) -> Tokens:
        said = [[crc32(word.encode()) % 64 for word in text.split()] for text in texts]
        most = max(map(len, said))
        index = torch.tensor([words + [0] * (most - len(words)) for words in said], dtype=torch.long)
        return Tokens(
            self.vectors(index.view(len(texts), most)),
            torch.arange(most) < torch.tensor([[len(x)] for x in said]),
        )

    @property
    def fingerprint(self) -> str:
        return "per-word"


class PerText(PerWord):
    """One column, whatever a text says."""

    def forward(self, texts: Sequence[str]) -> Tokens:
        whole = [text.replace(" ", "_") for text in texts]
        told = super().forward([*whole, "column"])
        assert told.real is not None
        return Tokens(told.values[:-1], told.real[:-1])


def backbone(name: str = "cnn") -> Backbone:
    made: Backbone = parts.build("backbones", {"name": name, "width": 16}, wants=WANTS)
    return made


def method(
    fusion: str = "gated", *, text: Text | None = None, net: str = "cnn", pool: str = "mean", **options: float
) -> WithReport:
    torch.manual_seed(0)
    read, text = backbone(net), text or PerWord()
    table = {"name": "linear", "pool": [pool], "hidden": [], "dropout": 0.0}
    heads = Heads([parts.build("heads", table, dim=read.dim, labels=LABELS)])
    losses = Losses({"bce": parts.build("losses", {"name": "bce"})}, {"bce": 1.0})
    beside = parts.build("fusions", {"name": fusion}, dim=read.dim, text_dim=text.dim)
    offers = {"backbone": read, "heads": heads, "losses": losses, "text": text, "fusion": beside}
    made: WithReport = parts.build("methods", {"name": "fusion"} | options, **offers)
    return made


def batch(text: tuple[str, ...] | None = TEXTS) -> Batch:
    draw = torch.Generator().manual_seed(1)
    ecg, row = torch.randn(6, 12, WANTS.samples, generator=draw), torch.arange(6)
    target = (torch.rand(6, LABELS, generator=draw) < 0.5).float()
    return Batch(ecg=ecg, row=row, patient=row, target=target, text=text)


@every
def test_a_report_changes_what_reads_it_and_not_the_ecgs_answer(name: str) -> None:
    asked = method(name).eval()
    before, after = asked.outputs(batch()), asked.outputs(batch(("atrial fibrillation", *TEXTS[1:])))
    assert {"logits", "features", "fused/logits", "text/logits", "fused/features"} <= before.keys()
    assert torch.equal(before["logits"], after["logits"])
    for answer in ("fused/logits", "text/logits"):
        differ = (before[answer] - after[answer]).abs().amax(1) > 1e-5
        assert differ.tolist() == [True] + 5 * [False]


@every
def test_no_reports_are_empty_reports(name: str) -> None:
    asked = method(name).eval()
    none, empty = asked.outputs(batch(None)), asked.outputs(batch(("",) * 6))
    assert none.keys() == empty.keys()
    for answer in none:
        torch.testing.assert_close(none[answer], empty[answer])
    assert not torch.allclose(none["fused/logits"][0], asked.outputs(batch())["fused/logits"][0])


@every
@pytest.mark.parametrize(("net", "pool"), [("cnn", "mean"), ("lstm", "special")])
@pytest.mark.parametrize("text", [None, ("",) * 6, TEXTS])
def test_withholding_never_fails_and_every_weight_is_used(
    name: str, net: str, pool: str, text: tuple[str, ...] | None
) -> None:
    asked = method(name, net=net, pool=pool).train()
    logs = asked(batch(text))
    assert logs.keys() == {"loss", "loss/ecg/bce", "loss/fused/bce", "loss/text/bce"}
    assert all(value.isfinite() for value in logs.values())
    logs["loss"].backward()
    assert [n for n, weight in asked.named_parameters() if weight.grad is None] == []
    assert asked.no_text.grad is not None and asked.no_text.grad.any()
    if text is None:
        assert not logs["loss/text/bce"].any()


@every
def test_every_weight_learns_from_a_whole_batch(name: str) -> None:
    asked = method(name, drop_text=0.3, drop_ecg=0.5).train()
    torch.manual_seed(0)
    asked(batch())["loss"].backward()
    still = [n for n, weight in asked.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert still == []


@every
def test_the_ecgs_answer_is_that_of_the_same_weights_without_reports(name: str) -> None:
    asked = method(name).eval()
    alone = Direct(asked.backbone, asked.heads, asked.losses).eval()
    with_reports, without = asked.outputs(batch()), alone.outputs(batch(None))
    for answer in ("logits", "features"):
        assert torch.equal(with_reports[answer], without[answer])


@every
def test_dropping_every_report_leaves_nothing_of_it_in_training(name: str) -> None:
    asked = method(name, drop_text=1.0).train()
    said = []
    for text in (TEXTS, TEXTS[::-1], None):
        torch.manual_seed(5)
        said.append(asked.outputs(batch(text))["fused/logits"])
    torch.testing.assert_close(said[0], said[1])
    torch.testing.assert_close(said[0], said[2])
    asked(batch())["loss"].backward()
    assert asked.text.vectors.weight.grad is not None  # type: ignore[union-attr]
    assert asked.text.vectors.weight.grad.any()  # type: ignore[union-attr]  # by the report's own answer


class Spy(nn.Module):
    """Notes what the fusion is shown."""

    needs_words = False

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Tokens, Tokens]] = []

    def forward(self, ecg: Tokens, text: Tokens) -> Tokens:
        self.seen.append((ecg, text))
        return ecg


def test_a_row_keeps_one_side_at_least() -> None:
    asked, dropped = method(drop_text=0.5, drop_ecg=1.0).train(), torch.zeros(2)
    asked.fusion = spy = Spy()  # type: ignore[assignment]
    for seed in range(20):
        torch.manual_seed(seed)
        asked(batch())
        ecg, text = spy.seen[-1]
        assert text.real is not None
        silent, blind = text.real[:, 0], (ecg.values == asked.no_ecg).all(2).all(1)
        assert torch.equal(silent, ~blind)
        assert silent[[2, 4]].all() and torch.equal(text.real[:, 1:].any(1), ~silent)
        dropped += torch.stack([silent[TOLD].sum(), blind[TOLD].sum()]) / 80
    assert dropped.tolist() == pytest.approx([0.5, 0.5], abs=0.2)
    asked.eval()(batch())
    ecg, text = spy.seen[-1]
    assert text.real is not None and text.real[:, 0].nonzero()[:, 0].tolist() == [2, 4]
    assert torch.equal(ecg.values, asked.backbone(batch().ecg).values)


def test_the_reports_answer_learns_from_rows_with_a_report_alone() -> None:
    asked, given = method().eval(), batch()
    assert given.target is not None
    said = asked.outputs(given)["text/logits"][TOLD]
    wanted = F.binary_cross_entropy_with_logits(said, given.target[TOLD])
    torch.testing.assert_close(asked(given)["loss/text/bce"], wanted)
    other = given.target.clone()
    other[[2, 4]] = 1 - other[[2, 4]]
    logs, changed = asked(given), asked(replace(given, target=other))
    assert torch.equal(logs["loss/text/bce"], changed["loss/text/bce"])
    assert not torch.allclose(logs["loss/fused/bce"], changed["loss/fused/bce"])
    total = sum(logs[f"loss/{side}/bce"] for side in ("ecg", "fused", "text"))
    torch.testing.assert_close(logs["loss"], total)


def test_a_report_that_names_the_label_is_learned_and_a_foreign_one_is_not() -> None:
    draw = torch.Generator().manual_seed(4)
    target = (torch.rand(64, LABELS, generator=draw) < 0.5).float()
    named = tuple(" ".join(["ecg", *(f"finding{k}" for k in row.nonzero()[:, 0])]) for row in target)
    row, noise = torch.arange(64), torch.randn(41, 64, 12, WANTS.samples, generator=draw)
    batches = [Batch(ecg=ecg, row=row, patient=row, target=target, text=named) for ecg in noise]
    asked, fresh = method(drop_text=0.3), batches.pop()
    schedule = Schedule(steps=40, lr=2e-2, batch=64)
    assert len(list(fit(asked, Learner(asked, schedule), batches))) == 40
    hits = {}
    with torch.no_grad():
        for what, text in {"own": named, "foreign": named[1:] + named[:1]}.items():
            said = asked.eval().outputs(replace(fresh, text=text))
            for answer in ("logits", "fused/logits", "text/logits"):
                hits[what, answer] = float(((said[answer] > 0) == (target > 0.5)).float().mean())
    assert hits["own", "text/logits"] > 0.95 and hits["own", "fused/logits"] > 0.8
    assert max(hits["own", "logits"], *(hits["foreign", a] for a in ("text/logits", "fused/logits"))) < 0.65


@pytest.mark.parametrize("keys", [1, 5])
def test_attention_is_torchs_with_a_key_of_zeros(keys: int) -> None:
    torch.manual_seed(0)
    ask, torchs = (
        Ask(16, 4).double(),
        nn.MultiheadAttention(16, 4, batch_first=True, add_zero_attn=True).double(),
    )
    with torch.no_grad():
        torchs.in_proj_weight.copy_(torch.cat([ask.query.weight, ask.told.weight]))
        torchs.in_proj_bias.copy_(torch.cat([ask.query.bias, ask.told.bias]))
    torchs.out_proj.load_state_dict(ask.out.state_dict())
    asker, told = torch.randn(3, 2, 16).double(), torch.randn(3, keys, 16).double()
    real = torch.rand(3, keys) < 0.7
    real[:, 0] = True
    wanted, _ = torchs(asker, told, told, ~real)
    torch.testing.assert_close(ask(asker, Tokens(told, real)), wanted)


def test_the_published_attention_ignored_who_asks_and_ours_does_not() -> None:
    """Softmax over one key is 1: with the ECG as the only key, any report got the same answer."""
    torch.manual_seed(0)
    one, report, other = torch.randn(3, 1, 16), torch.randn(3, 1, 16), torch.randn(3, 1, 16)
    published = nn.MultiheadAttention(16, 8, batch_first=True)
    assert torch.equal(published(report, one, one)[0], published(other, one, one)[0])
    ask = Ask(16, 8)
    assert ((ask(report, Tokens(one)) - ask(other, Tokens(one))).abs().amax((1, 2)) > 1e-3).all()


@pytest.mark.parametrize("name", ["attention", "sum_attention", "cross_attention"])
def test_attention_to_an_ecg_of_one_token_is_refused(name: str) -> None:
    fusion = parts.build("fusions", {"name": name}, dim=16, text_dim=6)
    with pytest.raises(ValueError, match=rf"'{name}'.* one token in all: say --set fusion.name=gated"):
        fusion(Tokens(torch.randn(2, 1, 16)), Tokens(torch.randn(2, 3, 6)))


@pytest.mark.parametrize("shortcut", [True, False])
def test_the_mended_attention_hears_the_report(shortcut: bool) -> None:
    fusion = parts.build("fusions", {"name": "attention", "shortcut": shortcut}, dim=16, text_dim=6)
    ecg, text = Tokens(torch.randn(2, 9, 16)), torch.randn(2, 3, 6)
    told = [fusion(ecg, Tokens(words)).values for words in (text, text.flip(0))]
    assert ((told[0] - told[1]).abs().amax((1, 2)) > 1e-3).all()


def test_attention_to_words_needs_words() -> None:
    asked = method("cross_attention", text=PerText()).train()
    with pytest.raises(
        ValueError, match=r"CrossAttention attends to single words, and PerText gives one tok"
    ):
        asked(batch())
    asked(batch(("normal", "", "paced", "", "", "")))  # one word each: nothing is amiss
    asked(batch(None))
    asked.eval().outputs(batch())  # who asks for an answer is not stopped
    method("gated", text=PerText()).train()(batch())


def test_a_long_report_is_as_loud_as_a_short_one_whatever_its_unit() -> None:
    words, said = Words(6, 16), torch.randn(2, 5, 6)
    torch.testing.assert_close(words.mean(Tokens(said)), words.mean(Tokens(1000 * said)), atol=1e-4, rtol=0)
    torch.testing.assert_close(words.mean(Tokens(said)), words.mean(Tokens(said.repeat(1, 3, 1))))


def test_an_ecg_without_any_real_token_is_a_missing_one() -> None:
    asked = method().eval()
    real = torch.tensor([[True, False], [False, False]])
    shown = asked.shown(Tokens(torch.randn(2, 2, 16), real), real.any(1))
    assert torch.equal(shown.values[1], asked.no_ecg[0].expand(2, -1))
    assert shown.real is not None and shown.real.tolist() == [[True, False], [True, True]]


@pytest.mark.parametrize("options", [{"drop_text": -0.1}, {"drop_ecg": 1.5}])
def test_what_cannot_be(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="drop_text and drop_ecg from 0 to 1"):
        method(**options)


@pytest.mark.parametrize("name", ["attention", "sum_attention", "cross_attention"])
def test_heads_that_do_not_divide_the_width(name: str) -> None:
    with pytest.raises(ValueError, match="5 heads needs a width that they divide, got 16"):
        parts.build("fusions", {"name": name, "heads": 5}, dim=16, text_dim=6)


@every
def test_computes_in_half_precision(name: str) -> None:
    asked = method(name).train()
    with torch.autocast("cpu", torch.bfloat16):
        logs = asked(batch())
    logs["loss"].backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in asked.parameters())


@every
def test_survives_a_save_and_a_load(name: str) -> None:
    first, second = method(name).eval(), method(name).eval()
    with torch.no_grad():
        for weight in first.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    second.load_state_dict(first.state_dict())
    one, other = first.outputs(batch()), second.outputs(batch())
    assert all(torch.equal(one[answer], other[answer]) for answer in one)
