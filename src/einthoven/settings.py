"""What any part's table may say about its learning: where it starts, whether and how fast it learns."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from einthoven.checkpoint import load_part

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)


class Settings:
    """Applies the keys `start`, `freeze` and `lr` to parts as they are built, and notes the rates."""

    def __init__(self) -> None:
        self.rates: list[tuple[nn.Module, float]] = []
        self.heads = 0

    def apply(self, kind: str, part: Any, table: Mapping[str, Any]) -> None:
        """Start, freeze, note the rate; before anyone copies the part."""
        name = table["name"]
        # Where the weights of a run hold the part: a head's place is its place among the heads.
        prefix = {"backbones": "backbone.", "heads": f"heads.heads.{self.heads}."}.get(kind)
        self.heads += kind == "heads"
        refuse_wrong(kind, table, starts=prefix is not None)
        if "start" in table:
            load_part(part, prefix or "", Path(table["start"]))
        freeze(part, table.get("freeze", False), name)
        if "lr" in table:
            self.rates += discriminative(part, table["lr"], name)


def refuse_wrong(kind: str, table: Mapping[str, Any], *, starts: bool) -> None:
    """Refuse keys that a kind of part cannot have, and values that they cannot take."""
    name = table["name"]
    if "start" in table and not starts:
        raise ValueError(f"Only a backbone or a head can start from another run; {name!r} cannot.")
    if "optional" in table and kind != "losses":
        raise ValueError(f"Only a loss can be optional; {name!r} cannot.")
    for key, wanted, told in (
        ("start", str, "the folder of a run"),
        ("optional", bool, "true or false"),
        ("weight", int | float, "a number"),
    ):
        if key in table and not isinstance(table[key], wanted):
            raise ValueError(f"{key} of {name!r} is {told}; got {table[key]!r}.")


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

    Howard & Ruder 2018 (arXiv:1801.06146). Stages are the part's children, those of a sequence one by one;
    a part of one stage learns at the last rate.
    """
    if is_rate(lr):
        return [(part, lr)]
    if not (isinstance(lr, Sequence) and len(lr) == 2 and all(map(is_rate, lr))):
        raise ValueError(f"lr of {name!r} is a number above 0, or two: [first, last]; got {lr!r}.")
    stages = [stage for stage in stages_of(part) if any(True for _ in stage.parameters())]
    first, last = lr
    if len(stages) < 2:
        return [(part, last)]
    growth = (last / first) ** (1 / (len(stages) - 1))
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
