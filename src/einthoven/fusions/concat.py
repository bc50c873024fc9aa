"""The report's words beside each place of the ECG, mapped back to its width."""

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from einthoven.layers.beside import Words, every, parted
from einthoven.types import Fusion, Tokens

__all__ = ["Concat"]


class Concat(Fusion):
    """Concatenate the mean word to every token; one linear layer, a norm, ReLU, dropout."""

    def __init__(
        self,
        dim: int,
        text_dim: int,
        *,
        norm: Literal["layer", "batch", "none"] = "layer",
        dropout: float = 0.0,
    ):
        super().__init__()
        norms = {"layer": nn.LayerNorm, "batch": nn.BatchNorm1d}
        self.words = Words(text_dim, dim)  # together with `places` one map of both, as of their concatenation
        self.places = nn.Linear(dim, dim, bias=False)
        self.norm: nn.Module = norms[norm](dim) if norm in norms else nn.Identity()
        self.drop = nn.Dropout(dropout)

    def forward(self, ecg: Tokens, text: Tokens) -> Tokens:
        """Fuse."""
        whole = every(ecg)
        both = self.places(whole.values) + self.words.mean(text)
        return parted(self.drop(F.relu(self.normed(both, whole.real))), ecg)

    def normed(
        self, both: Float[Tensor, "batch token dim"], real: Bool[Tensor, "batch token"] | None
    ) -> Float[Tensor, "batch token dim"]:
        """Norm; the statistics of a batch norm are those of the real tokens."""
        if not isinstance(self.norm, nn.BatchNorm1d):
            normed: Tensor = self.norm(both)
            return normed
        if real is None:
            return self.norm(both.flatten(0, 1)).view_as(both)  # type: ignore[no-any-return]
        return both.masked_scatter(real[..., None], self.norm(both[real]))
