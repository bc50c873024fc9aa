"""The backbone shown in docs/adding-a-backbone.md is one: it meets the contract as it stands on the page."""

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from einthoven import parts
from einthoven.ecg import Signal
from einthoven.types import LEADS, Backbone

SIGNAL = Signal(seconds=2.5)


@pytest.fixture
def blocks(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The page's Python, the first block saved as the page says."""
    page = (root / "docs/adding-a-backbone.md").read_text()
    found = re.findall(r"```python\n(.*?)```", page, re.S)
    (tmp_path / "my_lab.py").write_text(found[0])
    monkeypatch.syspath_prepend(tmp_path)
    yield found
    monkeypatch.delitem(sys.modules, "my_lab", raising=False)


@pytest.fixture
def backbone(blocks: list[str]) -> Backbone:
    return parts.build("backbones", {"name": "my_lab:Patches"}, wants=SIGNAL).eval()


@pytest.fixture
def ecg() -> torch.Tensor:
    return torch.randn(3, 12, SIGNAL.samples)


def test_its_tokens_have_its_width_and_do_not_mix_records(backbone: Backbone, ecg: torch.Tensor) -> None:
    tokens = backbone(ecg).values
    assert tokens.shape == (3, 10, backbone.dim)
    torch.testing.assert_close(backbone(ecg[:1]).values, tokens[:1])


def test_it_knows_leads_by_name(backbone: Backbone, ecg: torch.Tensor) -> None:
    order = torch.randperm(len(LEADS))
    names = order.expand(3, -1)
    torch.testing.assert_close(backbone(ecg[:, order], names).values, backbone(ecg).values)
    without = ecg.clone()
    without[:, 4] = 0
    kept = torch.tensor([lead for lead in range(12) if lead != 4])
    torch.testing.assert_close(backbone(ecg[:, kept], kept.expand(3, -1)).values, backbone(without).values)


def test_it_scales_what_it_reads(blocks: list[str], ecg: torch.Tensor) -> None:
    torch.manual_seed(0)
    plain = parts.build("backbones", {"name": "my_lab:Patches"}, wants=SIGNAL)
    torch.manual_seed(0)
    scaling = parts.build("backbones", {"name": "my_lab:Patches"}, wants=replace(SIGNAL, scale=(0.1, 0.5)))
    torch.testing.assert_close(scaling(ecg).values, plain((ecg - 0.1) / 0.5).values)


def test_every_weight_learns(backbone: Backbone, ecg: torch.Tensor) -> None:
    backbone(ecg).values.square().mean().backward()
    assert [name for name, weight in backbone.named_parameters() if weight.grad is None] == []


def test_a_misspelt_option_is_one_line_with_a_hint(blocks: list[str]) -> None:
    with pytest.raises(ValueError, match="Did you mean 'patch'"):
        parts.build("backbones", {"name": "my_lab:Patches", "ptch": 50})


def test_the_rest_of_the_page_runs(blocks: list[str], ecg: torch.Tensor) -> None:
    names: dict[str, object] = {}
    for block in blocks[1:]:
        exec(compile(block, "docs/adding-a-backbone.md", "exec"), names)
    backbone, head = names["backbone"], names["head"]
    assert head.eval()(backbone(torch.randn(2, 12, 1000)))["logits"].shape == (2, 5)
