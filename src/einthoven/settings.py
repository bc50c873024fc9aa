"""What any part's table may say about its learning: where it starts, whether and how fast it learns."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from einthoven.checkpoint import load_part

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)
PLACES = {"backbones": "backbone.", "heads": "heads.heads.0."}  # where a run's weights hold a part


class Settings:
    """Applies the keys `start`, `freeze` and `lr` to parts as they are built, and notes the rates."""

    def __init__(self) -> None:
        self.rates: list[tuple[nn.Module, float]] = []

    def apply(self, kind: str, part: Any, table: Mapping[str, Any]) -> None:
        """Start, freeze, note the rate; before anyone copies the part."""
        name = table["name"]
        if "start" in table and kind not in PLACES:
            raise ValueError(f"Only a backbone or a head can start from another run; {name!r} cannot.")
        if "optional" in table and kind != "losses":
            raise ValueError(f"Only a loss can be optional; {name!r} cannot.")
        if "start" in table:
            load_part(part, PLACES[kind], Path(table["start"]))
        freeze(part, table.get("freeze", False), name)
        if "lr" in table:
            self.rates += discriminative(part, table["lr"], name)


def freeze(part: nn.Module, how: Any, name: str) -> None:
    """Stop a part's weights: all (true), or all but those of its norms ("except-norms")."""
    if how not in (True, False, "except-norms"):
        raise ValueError(f"freeze of {name!r} is true, false or 'except-norms'; got {how!r}.")
    if how:
        part.requires_grad_(False)
    if how == "except-norms":
        for layer in part.modules():
            if isinstance(layer, NORMS):
                layer.requires_grad_(True)


def discriminative(part: nn.Module, lr: Any, name: str) -> list[tuple[nn.Module, float]]:
    """Give a part one rate; or, for [first, last], its stages rates that grow by one factor each.

    Howard & Ruder 2018 (arXiv:1801.06146). Stages are the part's children, those of a sequence one by one.
    """
    if is_rate(lr):
        return [(part, lr)]
    if not (isinstance(lr, Sequence) and len(lr) == 2 and all(map(is_rate, lr))):
        raise ValueError(f"lr of {name!r} is a number above 0, or two: [first, last]; got {lr!r}.")
    stages = [stage for stage in stages_of(part) if any(True for _ in stage.parameters())]
    first, last = lr
    growth = (last / first) ** (1 / max(1, len(stages) - 1))
    return [(part, last)] + [(stage, first * growth**i) for i, stage in enumerate(stages)]


def is_rate(lr: Any) -> bool:
    """Say whether a value can be a learning rate."""
    return isinstance(lr, int | float) and not isinstance(lr, bool) and lr > 0


def stages_of(part: nn.Module) -> list[nn.Module]:
    """List what a network is made of, from input to output."""
    stages: list[nn.Module] = []
    for child in part.children():
        stages += child.children() if type(child) in (nn.Sequential, nn.ModuleList) else [child]
    return stages
