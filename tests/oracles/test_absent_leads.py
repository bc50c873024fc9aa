"""Leads that no ECG of a batch has make no tokens; what the others say is as it would be beside blanks."""

import pytest
import torch

from einthoven import parts
from einthoven.types import LEADS, PatchBackbone, Signal, Tokens

KINDS = [{}, {"special": "cls"}, {"special": "sep"}, {"attention": "cross_pattern", "code": "fixed"}]


def made(options: dict[str, object]) -> PatchBackbone:
    torch.manual_seed(0)
    table = {"name": "vit", "size": [16, 2, 2], **options}
    backbone: PatchBackbone = parts.build("backbones", table, wants=Signal(seconds=2.5, scale="crop"))
    return backbone.eval()


def by_place(tokens: Tokens) -> dict[tuple[int, int, int], torch.Tensor]:
    """Return each real token by record, lead and time; tokens of a lead come in the order of their times."""
    found: dict[tuple[int, int, int], torch.Tensor] = {}
    assert tokens.lead is not None
    for record, values in enumerate(tokens.values):
        for lead in range(len(LEADS)):
            mine = (tokens.lead[record] == lead).nonzero()[:, 0]
            for time, token in enumerate(mine.tolist()):
                if tokens.real is None or tokens.real[record, token]:
                    found[record, lead, time] = values[token]
    return found


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("there", [[{1}, {1}], [{1, 7}, {7, 1}], [{0, 3}, {3, 11}], [{4}, {9}]])
def test_tokens_are_those_of_a_batch_with_blanks(options: dict[str, object], there: list[set[int]]) -> None:
    backbone = made(options)
    ecg = torch.randn(2, 12, backbone.wants.samples)
    for record, leads in enumerate(there):
        ecg[record, [lead for lead in range(12) if lead not in leads]] = 0
    with torch.no_grad():
        fewer, blanks = backbone(ecg), backbone.encode(backbone.patchify(ecg))
    steps, every = backbone.wants.samples // backbone.patch[1], set.union(*there)
    assert fewer.values.shape[1] == steps * len(every)
    assert blanks.values.shape[1] == steps * 12
    assert (fewer.real is None) == (there[0] == there[1])
    one, other = by_place(fewer), by_place(blanks)
    assert one.keys() == other.keys() and len(one) == steps * sum(map(len, there))
    for place, value in one.items():
        torch.testing.assert_close(value, other[place], atol=2e-5, rtol=1e-4)


def test_a_batch_without_any_lead_is_still_a_batch() -> None:
    backbone = made({})
    said = backbone(torch.zeros(2, 12, backbone.wants.samples))
    assert said.real is not None and not said.real.any() and not said.values.any()
