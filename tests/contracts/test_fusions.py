"""The contract of every fusion: a new file in einthoven/fusions/ is tested with no change here."""

import pytest
import torch

from einthoven import parts
from einthoven.layers.pool import special
from einthoven.types import Fusion, Tokens

DIM, WIDE, ROWS = 16, 6, 4
every = pytest.mark.parametrize("name", parts.names("fusions"))


def made(name: str) -> Fusion:
    torch.manual_seed(0)
    fusion: Fusion = parts.build("fusions", {"name": name}, dim=DIM, text_dim=WIDE)
    return fusion


def ecg() -> Tokens:
    """Seven places, the last two unreal in one row; two special tokens, one of zeros (an absent lead's)."""
    draw = torch.Generator().manual_seed(1)
    real = torch.ones(ROWS, 7, dtype=torch.bool)
    real[2, 5:] = False
    final = torch.randn(ROWS, 2, DIM, generator=draw)
    final[1, 1] = 0
    return Tokens(torch.randn(ROWS, 7, DIM, generator=draw), real, final)


def text() -> Tokens:
    """Texts of one to four words."""
    draw = torch.Generator().manual_seed(2)
    real = torch.arange(4) < torch.tensor([4, 1, 2, 3])[:, None]
    return Tokens(torch.randn(ROWS, 4, WIDE, generator=draw), real)


def rows(tokens: Tokens) -> torch.Tensor:
    """All that is real of each row, in one line."""
    values = tokens.values if tokens.real is None else tokens.values * tokens.real[..., None]
    return values.flatten(1) if tokens.special is None else torch.cat([values, tokens.special], 1).flatten(1)


@every
def test_keeps_places_and_width(name: str) -> None:
    fused = made(name)(ecg(), text())
    assert fused.values.shape == (ROWS, 7, DIM)
    assert fused.special is not None and fused.special.shape == (ROWS, 2, DIM)
    assert fused.real is not None and torch.equal(fused.real, ecg().real)
    bare = made(name)(Tokens(ecg().values), Tokens(text().values))
    assert bare.real is None and bare.special is None and bare.values.shape == (ROWS, 7, DIM)


@every
@pytest.mark.parametrize("changed", [[0], [1, 3], [0, 1, 2, 3]])
def test_another_text_changes_its_row_and_no_other(name: str, changed: list[int]) -> None:
    fusion, other = made(name).eval(), text().values.clone()
    other[changed] = torch.randn(len(changed), 4, WIDE, generator=torch.Generator().manual_seed(3))
    before, after = fusion(ecg(), text()), fusion(ecg(), text()._replace(values=other))
    differ = (rows(before) - rows(after)).abs().amax(1) > 1e-4
    assert differ.nonzero()[:, 0].tolist() == changed
    assert before.special is not None and after.special is not None
    pooled = (special(before) - special(after)).abs().amax(1) > 1e-4
    assert pooled.nonzero()[:, 0].tolist() == changed


@every
def test_the_ecg_is_not_forgotten(name: str) -> None:
    fusion, other = made(name).eval(), ecg()
    moved = fusion(other._replace(values=other.values.flip(0)), text()).values
    assert ((moved - fusion(ecg(), text()).values).abs().flatten(1).amax(1) > 1e-2).all()


@every
@pytest.mark.parametrize("junk", [1e4, torch.nan])
def test_a_word_that_is_not_real_changes_nothing(name: str, junk: float) -> None:
    fusion, said = made(name).eval(), text()
    assert said.real is not None
    noisy = said._replace(values=said.values.masked_fill(~said.real[..., None], junk))
    assert torch.equal(rows(fusion(ecg(), noisy)), rows(fusion(ecg(), said)))
    padded = Tokens(
        torch.cat([said.values, torch.full((ROWS, 3, WIDE), junk)], 1),
        torch.cat([said.real, torch.zeros(ROWS, 3, dtype=torch.bool)], 1),
    )
    torch.testing.assert_close(rows(fusion(ecg(), padded)), rows(fusion(ecg(), said)))


@every
def test_a_place_that_is_not_real_changes_no_other(name: str) -> None:
    fusion, seen = made(name).train(), ecg()
    assert seen.real is not None
    noisy = seen._replace(values=seen.values.masked_fill(~seen.real[..., None], 1e4))
    torch.testing.assert_close(rows(fusion(noisy, text())), rows(fusion(seen, text())))


@every
def test_an_absent_lead_stays_absent(name: str) -> None:
    fused = made(name)(ecg(), text())
    assert fused.special is not None
    assert not fused.special[1, 1].any() and fused.special[1, 0].any()


@every
def test_records_do_not_mix(name: str) -> None:
    fusion, order = made(name).eval(), torch.tensor([2, 0, 3, 1])
    turned = [Tokens(*(None if part is None else part[order] for part in side)) for side in (ecg(), text())]
    torch.testing.assert_close(rows(fusion(*turned)), rows(fusion(ecg(), text()))[order])


@every
def test_every_weight_learns(name: str) -> None:
    fusion = made(name)
    told = rows(fusion(ecg(), text()))
    (told * torch.randn_like(told)).sum().backward()
    assert [n for n, p in fusion.named_parameters() if p.grad is None or not p.grad.any()] == []


@every
@pytest.mark.parametrize("width", [1, 3])
def test_one_learned_token_is_text_enough(name: str, width: int) -> None:
    """No report in the whole batch: the token of the method is the only one, and learns."""
    missing = torch.randn(1, 1, WIDE, requires_grad=True)
    real = (torch.arange(width) == 0).expand(ROWS, -1)
    fused = made(name)(ecg(), Tokens(missing.expand(ROWS, width, WIDE), real))
    assert fused.values.isfinite().all()
    (rows(fused) * torch.randn(rows(fused).shape)).sum().backward()
    assert missing.grad is not None and missing.grad.any()


@every
def test_computes_in_half_precision(name: str) -> None:
    fusion = made(name)
    with torch.autocast("cpu", torch.bfloat16):
        half = rows(fusion(ecg(), text()))
    torch.testing.assert_close(half.float(), rows(fusion(ecg(), text())), atol=0.1, rtol=0.05)
    half.float().square().sum().backward()
    assert [n for n, p in fusion.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@every
def test_survives_a_save_and_a_load(name: str) -> None:
    first, second = made(name).eval(), parts.build("fusions", {"name": name}, dim=DIM, text_dim=WIDE).eval()
    assert not torch.equal(rows(first(ecg(), text())), rows(second(ecg(), text())))
    second.load_state_dict(first.state_dict())
    assert torch.equal(rows(first(ecg(), text())), rows(second(ecg(), text())))
