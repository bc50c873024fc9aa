"""The heads and the losses of a recipe, each list as one module."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from einthoven.layers.pool import mean
from einthoven.types import Batch, Head, Loss, Outputs, Tokens


class Heads(nn.Module):
    """All heads read the same tokens."""

    def __init__(self, heads: Sequence[Head]):
        super().__init__()
        self.heads = nn.ModuleList(heads)
        self.gives = tuple(name for head in heads for name in head.gives)
        if both := sorted({name for name in self.gives if self.gives.count(name) > 1}):
            raise ValueError(f"Two heads give {', '.join(both)}.")

    def forward(self, tokens: Tokens) -> Outputs:
        """Give `features` (the mean token) and all that the heads add; two may not share a name."""
        outputs = Outputs(features=mean(tokens))
        for head in self.heads:
            new = head(tokens)
            if both := outputs.keys() & new.keys():
                raise ValueError(f"Two heads give {', '.join(sorted(both))}.")
            outputs.update(new)
        return outputs


class Losses(nn.Module):
    """All losses read the same outputs."""

    def __init__(self, losses: Mapping[str, Loss], weights: Mapping[str, float]):
        super().__init__()
        self.losses, self.weights = nn.ModuleDict(losses), dict(weights)

    def forward(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted sum as `loss`, and each one."""
        each = {name: loss(outputs, batch) for name, loss in self.losses.items()}
        total = torch.stack([self.weights[name] * value for name, value in each.items()]).sum()
        return {"loss": total} | {f"loss/{name}": value for name, value in each.items()}
