"""The codebook against loops and against the published collapse; the VQ-VAE on top of it."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from einthoven import parts
from einthoven.layers.codebook import Codebook
from einthoven.methods.vqvae import VQVAE
from einthoven.types import LEADS, Batch, PatchBackbone, Signal


def cloud(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def begun(codes: int, size: int, **options: float) -> Codebook:
    """A codebook past its first batch."""
    book = Codebook(codes, size, **options)
    book(cloud(4, 40, size))
    return book


def nearest(tokens: np.ndarray, codes: np.ndarray) -> list[int]:
    """Compare each token with each code."""
    return [int(np.argmin([((token - code) ** 2).sum() for code in codes])) for token in tokens]


# The quantiser


@pytest.mark.parametrize("unit", [False, True])
def test_a_token_becomes_its_nearest_code(unit: bool) -> None:
    book = begun(12, 5, unit=unit).eval()
    tokens = cloud(3, 7, 5, seed=2)
    told = book(tokens)
    codes, points = book.means.double().numpy(), tokens.flatten(0, 1).double().numpy()
    if unit:
        codes, points = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (codes, points))
    want = nearest(points, codes)
    assert told.code.flatten().tolist() == want
    torch.testing.assert_close(told.values.flatten(0, 1).numpy(), codes[want].astype(np.float32))
    assert float(told.commitment) == pytest.approx(((points - codes[want]) ** 2).mean(), rel=1e-5)
    share = np.bincount(want, minlength=12) / len(want)
    entropy = -sum(p * np.log(p) for p in share if p)
    assert float(told.perplexity) == pytest.approx(np.exp(entropy), rel=1e-5)


def test_the_gradient_passes_straight_on_and_the_commitment_pulls_tokens_to_codes() -> None:
    book, tokens = begun(12, 5).eval(), cloud(3, 7, 5, seed=2).requires_grad_()
    told, wish = book(tokens), cloud(3, 7, 5, seed=3)
    (told.values * wish).sum().backward(retain_graph=True)
    assert tokens.grad is not None
    torch.testing.assert_close(tokens.grad, wish)
    tokens.grad = None
    told.commitment.backward()
    torch.testing.assert_close(tokens.grad, 2 * (tokens - told.values).detach() / tokens.numel())


def test_codes_follow_the_moving_sums_and_counts() -> None:
    """Kept in loops: a sum and a count for each code, both seeded by what the first batch gave."""
    book = begun(8, 3, restart=0.0, decay=0.2)
    counts = book.counts.double().numpy()
    sums = counts[:, None] * book.means.double().numpy()
    for step in range(5):
        tokens = cloud(2, 30, 3, seed=10 + step) + 0.2 * step
        points = tokens.flatten(0, 1).double().numpy()
        taken = nearest(points, sums / counts[:, None])
        assert book(tokens).code.flatten().tolist() == taken
        decay = min(0.2, [2 / 11, 3 / 12][min(step, 1)])  # 1/10 went by with the first batch
        for code in range(8):
            mine = [point for point, place in zip(points, taken, strict=True) if place == code]
            counts[code] = decay * counts[code] + (1 - decay) * len(mine)
            sums[code] = decay * sums[code] + (1 - decay) * np.sum(mine, axis=0)
        np.testing.assert_allclose(book.counts, counts, rtol=1e-5)
        np.testing.assert_allclose(book.means, sums / counts[:, None], rtol=1e-4, atol=1e-5)


def test_codes_begin_as_k_means_of_the_first_batch() -> None:
    """Five tight heaps, five codes: no code stands between heaps, and counts are the heaps' own."""
    torch.manual_seed(4)
    centres, sizes = 10 * cloud(5, 6), torch.tensor([10, 20, 30, 40, 60])
    tokens = (centres.repeat_interleave(sizes, 0) + 0.01 * cloud(160, 6, seed=2))[torch.randperm(160)]
    book = Codebook(40, 6)
    first = book(tokens.reshape(4, 40, 6))
    assert float(first.commitment) < 1e-3
    assert float(book.counts.sum()) == pytest.approx(160, rel=0.5)
    home = torch.cdist(book.means, centres).amin(1)
    assert float(home.max()) < 0.1


def test_one_more_round_of_k_means_hardly_helps() -> None:
    tokens = cloud(4, 100, 3)
    book = Codebook(16, 3, restart=0.0)
    before = float(book(tokens).commitment)
    points, means = tokens.flatten(0, 1), book.means.clone()
    taken = (points[:, None] - means).square().sum(2).argmin(1)
    for code in range(16):
        means[code] = points[taken == code].mean(0)
    after = (points[:, None] - means).square().mean(2).amin(1).mean()
    assert 0.97 * before < float(after) <= before


def published_step(codes: Tensor, tokens: Tensor) -> Tensor:
    """The published update: counts and sums begin at zero, and what they say overwrites all codes."""
    used = F.one_hot((tokens[:, None] - codes).square().sum(2).argmin(1), len(codes)).float()
    counts, sums = 0.01 * used.sum(0), 0.01 * used.T @ tokens
    total = counts.sum()
    return sums / ((counts + 1e-5) / (total + len(codes) * 1e-5) * total)[:, None]


def test_the_published_collapse_does_not_happen() -> None:
    """Features of a frozen encoder, much alike: the published step leaves three of 64 codes at most."""
    tokens = 2 * cloud(32, seed=5) + 0.1 * cloud(512, 32, seed=6)
    left = published_step(cloud(64, 32, seed=7), tokens)
    assert len(left.unique(dim=0)) <= 3
    book = Codebook(64, 32)
    for step in range(3):
        assert float(book(tokens[None]).perplexity) > 64 / 4, step
    assert len(book.means.unique(dim=0)) == 64


def test_a_code_that_nobody_takes_begins_anew() -> None:
    book, tokens = begun(16, 4), cloud(4, 40, 4)
    book.steps.fill_(1000)
    book.means[3] = 1e3
    steps = 0
    while float(book.means[3].abs().max()) > 100:
        steps += 1
        assert steps < 400, "a dead code stays dead"
        book(tokens)
    assert 150 < steps < 350  # from about the average to a tenth of it, by 0.99 a step
    assert (book.means[3] == tokens.flatten(0, 1)).all(1).any()
    assert float(book.counts[3]) == pytest.approx(float(book.counts.mean()), rel=0.2)
    assert 3 in book(tokens).code


def test_without_restarts_a_dead_code_stays() -> None:
    book, tokens = begun(16, 4, restart=0.0), cloud(4, 40, 4)
    book.means[3] = 1e3
    book.counts[3] = 1e-38
    for _ in range(50):
        book(tokens)
    assert book.means[3].eq(1e3).all() and book.means.isfinite().all()


def test_absent_tokens_take_no_part() -> None:
    real = torch.rand(4, 40, generator=torch.Generator().manual_seed(3)) > 0.3
    tokens, state = cloud(4, 40, 5), begun(12, 5).state_dict()
    told = []
    for filler in (0.0, 1e4):
        torch.manual_seed(9)
        book = Codebook(12, 5)
        book.load_state_dict(state)
        said = book(tokens.masked_fill(~real[..., None], filler), real)
        told.append((*said, *book.state_dict().values()))
        assert said.code[~real].eq(-1).all() and said.code[real].ge(0).all()
        assert said.values[~real].eq(0).all()
    assert all(torch.equal(a, b) for a, b in zip(*told, strict=True))
    alone = Codebook(12, 5).eval()
    alone.load_state_dict(state)
    torch.testing.assert_close(alone(tokens[real][None]).commitment, told[0][2])


def test_with_nobody_there_the_loss_is_zero_with_a_gradient_and_nothing_changes() -> None:
    book, tokens = begun(12, 5), cloud(2, 6, 5).requires_grad_()
    before = {name: value.clone() for name, value in book.state_dict().items()}
    said = book(tokens, torch.zeros(2, 6, dtype=torch.bool))
    (said.commitment + said.values.sum()).backward()
    assert said.commitment.eq(0) and tokens.grad is not None and not tokens.grad.any()
    assert all(torch.equal(before[name], value) for name, value in book.state_dict().items())


def test_in_eval_mode_it_answers_and_learns_nothing() -> None:
    fresh = Codebook(12, 5).eval()
    for book in (fresh, begun(12, 5).eval()):
        before = {name: value.clone() for name, value in book.state_dict().items()}
        assert book(cloud(2, 6, 5)).code.unique().numel() > 1
        assert all(torch.equal(before[name], value) for name, value in book.state_dict().items())
    fresh.train()(cloud(2, 6, 5) + 100)  # and begins when training does
    assert float(fresh.means.mean()) == pytest.approx(100, abs=1)


def test_half_precision_around_it_changes_nothing() -> None:
    book, tokens = begun(30, 5).eval(), cloud(3, 200, 5, seed=2)
    with torch.autocast("cpu", torch.bfloat16):
        told = book(tokens)
    assert told.values.dtype == torch.float32
    assert torch.equal(told.values, book(tokens).values)
    with torch.autocast("cpu", torch.bfloat16):
        assert book.train()(tokens.bfloat16()).values.dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"codes": 1}, "codes from 2 and size from 1, got 1 and 4"),
        ({"size": 0}, "codes from 2 and size from 1, got 8 and 0"),
        ({"decay": 1.0}, "decay above 0 and below 1"),
        ({"restart": 1.0}, "restart from 0 to below 1"),
    ],
)
def test_what_no_codebook_can_be(options: dict[str, float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Codebook(**{"codes": 8, "size": 4} | options)


def test_more_codes_than_tokens_are_refused() -> None:
    real = torch.zeros(2, 6, dtype=torch.bool)
    real[0] = True
    with pytest.raises(ValueError, match="first batch has 6 tokens for a codebook of 8: say fewer codes"):
        Codebook(8, 4)(cloud(2, 6, 4), real)


# The method


def method(wants: Signal | None = None, together: bool = False, **options: float) -> VQVAE:
    torch.manual_seed(0)
    table = {"name": "vit", "size": [16, 1, 2], "patch": 0.16, "together": together}
    backbone = parts.build("backbones", table, wants=wants or Signal(seconds=0.7, scale="crop"))
    small = {"codes": 12, "size": 8, "decoder": (16, 1, 2)}
    return VQVAE(backbone, **small | options)


def some(records: int = 6) -> Batch:
    time = torch.arange(70) / 100
    phase = torch.rand(records, 12, 1, generator=torch.Generator().manual_seed(1))
    row = torch.arange(records)
    return Batch(ecg=torch.sin(2 * torch.pi * (3 * time + phase)) + 0.3, row=row, patient=row)


def test_codes_keep_up_with_tokens_that_move() -> None:
    """Those of a young encoder do, for a while; at 0.99 from the first step on few codes do all the work."""

    def used(steps: int) -> float:
        torch.manual_seed(0)
        book = Codebook(64, 8)
        book(cloud(4, 200, 8))
        book.steps.fill_(steps)
        for step in range(1, 21):
            told = book(cloud(4, 200, 8, seed=step) + 0.1 * min(step, 10))
        return float(told.perplexity)

    assert used(1) > 3 / 4 * 64
    assert used(1000) < 64 / 4


@torch.no_grad()
def test_the_loss_is_the_scaled_patches_error_and_the_commitment() -> None:
    vqvae, batch = method(beta=0.7), some()
    batch.ecg[:, 5] = 0  # an absent lead
    vqvae(batch)
    vqvae.eval()
    logs = vqvae(batch)
    patches = vqvae.backbone.patchify(batch.ecg)
    said = vqvae.codebook(vqvae.narrow(vqvae.backbone.encode(patches).values), patches.real)
    guess = vqvae.decode(said.values, patches)
    each = (guess - patches.values).square().mean(2).double()
    missed = np.mean([float(each[i, j]) for i in range(6) for j in range(48) if j // 4 != 5])
    assert float(logs["loss/reconstruction"]) == pytest.approx(missed, rel=1e-5)
    assert float(logs["loss"]) == pytest.approx(missed + 0.7 * float(said.commitment), rel=1e-5)
    parts = {"loss", "loss/reconstruction", "loss/commitment", "perplexity"}
    assert set(logs) == parts | {"perplexity_of_place"}
    code, each_place = vqvae.codes(batch), []
    for place in (j for j in range(48) if j // 4 != 5):
        share = np.bincount(code[:, place]) / 6
        each_place.append(np.exp(-sum(p * np.log(p) for p in share if p)))
    expected = (sum(each_place) + 4) / 48  # at a place of an absent lead there is nothing: exp(0)
    assert float(logs["perplexity_of_place"]) == pytest.approx(expected, rel=1e-5)
    assert all(value.ndim == 0 for value in logs.values())


@pytest.mark.parametrize("options", [{}, {"across": True}, {"together": True}, {"unit": True}])
def test_every_weight_learns(options: dict[str, bool]) -> None:
    vqvae = method(codes=8, **options)
    vqvae(some())["loss"].backward()
    still = [
        name for name, weight in vqvae.named_parameters() if weight.grad is None or not weight.grad.any()
    ]
    assert still == []
    assert not [name for name, _ in vqvae.named_parameters() if name.startswith("codebook")]


def test_it_learns_a_batch_by_heart() -> None:
    vqvae, batch = method(codes=32), some()
    adam = torch.optim.AdamW(vqvae.parameters(), lr=3e-3)
    told = []
    for _ in range(150):
        logs = vqvae(batch)
        adam.zero_grad()
        logs["loss"].backward()
        adam.step()
        told.append(float(logs["loss/reconstruction"].detach()))
    assert told[-1] < 0.25 * told[0]
    assert float(logs["perplexity"]) > 32 / 4
    vqvae.eval()
    window = vqvae.drawn(batch)
    assert window.shape == batch.ecg.shape and window[..., 64:].isnan().all()  # 6 samples make no patch
    error = (window - batch.ecg)[..., :64].square().mean()
    assert float(error) == pytest.approx(told[-1] * float(batch.ecg.var()), rel=0.3)


@pytest.mark.parametrize("scale", ["none", "crop", (0.2, 1.7)])
@pytest.mark.parametrize("together", [False, True])
def test_what_is_drawn_without_error_is_the_ecg_in_millivolts(
    scale: str | tuple[float, float], together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    vqvae = method(Signal(seconds=0.7, scale=scale), together).eval()
    monkeypatch.setattr(vqvae, "decode", lambda values, patches: patches.values)
    batch = some()
    batch.ecg[0, 4] = 0
    drawn = vqvae.drawn(batch)
    assert drawn[0, 4].isnan().all() and drawn[..., 64:].isnan().all()
    there = [lead for lead in range(12) if lead != 4]
    torch.testing.assert_close(drawn[:, there, :64], batch.ecg[:, there, :64], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(drawn[1:, 4, :64], batch.ecg[1:, 4, :64], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("across", [False, True])
def test_absent_leads_are_as_if_not_given(across: bool) -> None:
    """Neither codes nor loss nor drawing know of them, in training and after it."""
    names = torch.tensor([0, 1, 7, -1]).expand(6, -1)
    told = []
    for filler in (0.0, 5.0):
        vqvae = method(replace(Signal(seconds=0.7, scale="crop"), subset=True), across=across)
        batch = some()
        batch.ecg[:, 3] = filler
        few = replace(batch, ecg=batch.ecg[:, :4], leads=names)
        told.append([vqvae(few)["loss"], vqvae.eval().drawn(few), vqvae.codes(few)])
        assert told[-1][0].isfinite()
        told[-1][0].backward()
        grads = [weight.grad for weight in vqvae.parameters()]
        assert all(grad is not None and grad.isfinite().all() for grad in grads)
    torch.testing.assert_close(told[0], told[1], equal_nan=True)
    codes = told[0][2].unflatten(1, (12, 4))
    here = torch.tensor([name in ("I", "II", "V2") for name in LEADS])
    assert codes[:, here].ge(0).all() and codes[:, ~here].eq(-1).all()


def test_a_lead_is_drawn_from_its_own_codes_alone_unless_across() -> None:
    for across in (False, True):
        vqvae = method(across=across)
        vqvae.eval()
        patches = vqvae.backbone.patchify(some(1).ecg)
        values = cloud(1, 48, 8).requires_grad_()
        vqvae.decode(values, patches)[:, :4].sum().backward()
        assert values.grad is not None
        assert values.grad[0, :4].any() and bool(values.grad[0, 4:].any()) == across


def test_features_are_the_mean_token_before_the_codebook() -> None:
    vqvae, batch = method().eval(), some()
    features = vqvae.outputs(batch)["features"]
    torch.testing.assert_close(features, vqvae.backbone(batch.ecg).values.mean(1), atol=1e-6, rtol=1e-5)
    order = torch.arange(11, -1, -1)
    turned = replace(batch, ecg=batch.ecg[:, order], leads=order.expand(6, -1))
    torch.testing.assert_close(vqvae.outputs(turned)["features"], features, atol=1e-5, rtol=1e-5)


def test_a_training_goes_on_to_the_same_bits() -> None:
    """Also where codes begin anew: what a codebook remembers is in its state, its chance in the seed."""

    def learn(vqvae: VQVAE, steps: range) -> list[Tensor]:
        told = []
        for step in steps:
            torch.manual_seed(step)
            loss = vqvae.train()(some())["loss"]
            vqvae.zero_grad()
            loss.backward()
            with torch.no_grad():
                for weight in vqvae.parameters():
                    weight -= 0.05 * weight.grad
            told.append(loss.detach())
        return told

    whole, half = method(decay=0.5), method(decay=0.5)
    losses, firsts = learn(whole, range(12)), learn(half, range(5))
    late = method(decay=0.5)
    torch.randn(7)
    late.load_state_dict({name: value.clone() for name, value in half.state_dict().items()})
    late.eval().codes(some())
    assert torch.equal(torch.stack(losses), torch.stack(firsts + learn(late, range(5, 12))))
    assert torch.equal(whole.eval().codes(some()), late.eval().codes(some()))
    assert all(torch.equal(a, late.state_dict()[name]) for name, a in whole.state_dict().items())


def test_a_collapsing_codebook_raises_an_alarm() -> None:
    vqvae = method(codes=64)
    (line,) = vqvae.alarms({"loss": 1.0, "perplexity": 15.9})
    assert "perplexity 15.9 of 64 codes (healthy from 16)" in line and "Lower [train] lr" in line
    (line,) = vqvae.alarms({"perplexity": 60.0, "perplexity_of_place": 2.8})
    assert "The codes name places: 2.8 of them" in line
    assert vqvae.alarms({"perplexity": 16.0}) == vqvae.alarms({"loss": 1.0}) == ()


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="beta from 0"):
        method(beta=-1)
    with pytest.raises(ValueError, match="codes from 2"):
        method(codes=1)
    with pytest.raises(ValueError, match="needs a PatchBackbone; ResNet1dWang is none"):
        parts.build(
            "methods", {"name": "vqvae"}, backbone=parts.build("backbones", {"name": "resnet1d_wang"})
        )
    assert isinstance(method().backbone, PatchBackbone)


SEVERAL = """
import sys
import torch
import torch.distributed as dist
from einthoven.layers.codebook import Codebook

dist.init_process_group("gloo")
generator = torch.Generator().manual_seed(0)
tokens = torch.randn(64, 3, generator=generator)
torch.manual_seed(5)
book = Codebook(8, 3).train()
torch.manual_seed(dist.get_rank())  # each draws by itself
for turn in range(3):
    book(tokens[dist.get_rank() :: 2][None] + turn)
every = [torch.zeros_like(book.means) for _ in range(2)]
dist.all_gather(every, book.means)
assert torch.equal(*every)
whole, alone = tokens + 3, Codebook(8, 3)
alone.load_state_dict(book.state_dict())
taken = alone.nearest(whole)
book.follow((whole)[dist.get_rank() :: 2], taken[dist.get_rank() :: 2], 0.5)
dist.destroy_process_group()
alone.follow(whole, taken, 0.5)
torch.testing.assert_close(book.means, alone.means)
torch.testing.assert_close(book.counts, alone.counts)
"""


@pytest.mark.slow
def test_several_processes_share_one_codebook(tmp_path: Path) -> None:
    (tmp_path / "several.py").write_text(SEVERAL)
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ended = subprocess.run(
        [*words, str(tmp_path / "several.py")], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
