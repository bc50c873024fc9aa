"""A report beside an ECG: its tokens at the ECG's width, and attention between the two sides."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from einthoven.layers.pool import mean
from einthoven.types import Tokens


class Words(nn.Module):
    """Bring text tokens to a width: normed, whatever their scale, then mapped; unreal ones are zero."""

    def __init__(self, text_dim: int, dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(text_dim, elementwise_affine=False)
        self.linear = nn.Linear(text_dim, dim)

    def forward(self, text: Tokens) -> Tokens:
        """Map each token; special ones are left."""
        if text.real is None:
            return Tokens(self.linear(self.norm(text.values)))
        unreal = ~text.real[..., None]  # filled before the map, too: what stands there may be NaN
        mapped = self.linear(self.norm(text.values.masked_fill(unreal, 0.0)))
        return Tokens(mapped.masked_fill(unreal, 0.0), text.real)

    def mean(self, text: Tokens) -> Float[Tensor, "batch 1 dim"]:
        """Map the mean token, normed as one: a long text is as loud as a short one."""
        if text.real is not None:
            text = Tokens(text.values.masked_fill(~text.real[..., None], 0.0), text.real)
        mapped: Tensor = self.linear(self.norm(mean(text)))
        return mapped[:, None]


class Ask(nn.Module):
    """Multi-head attention of one side's tokens to those of the other, or to none of them.

    To attend to nothing is a key and a value of zeros beside the others. So even a single token is heard as
    much as a question asks for it: without, its share is 1 whatever the question, and the asker is ignored.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"Attention with {heads} heads needs a width that they divide, got {dim}.")
        self.heads = heads
        self.query, self.told, self.out = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)

    def forward(
        self, asker: Float[Tensor, "batch asker dim"], told: Tokens
    ) -> Float[Tensor, "batch asker dim"]:
        """Return what each asker hears."""
        query = self.query(asker).unflatten(2, (self.heads, -1)).transpose(1, 2)
        key, value = self.told(told.values).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        match = (query * query.shape[-1] ** -0.5) @ key.transpose(2, 3)  # batch head asker token
        if told.real is not None:
            match = match.masked_fill(~told.real[:, None, None], torch.finfo(match.dtype).min)
        nothing = match.new_zeros(*match.shape[:3], 1)
        share = torch.cat([match, nothing], 3).softmax(3)[..., :-1]
        heard: Tensor = self.out((share.to(value.dtype) @ value).transpose(1, 2).flatten(2))
        return heard


def every(ecg: Tokens) -> Tokens:
    """List tokens of places and special ones as one row; special ones of zeros (absent leads') are unreal."""
    if ecg.special is None:
        return ecg
    here = torch.ones_like(ecg.values[..., 0], dtype=torch.bool) if ecg.real is None else ecg.real
    there = ecg.special.detach().ne(0).any(2)
    return Tokens(torch.cat([ecg.values, ecg.special], 1), torch.cat([here, there], 1))


def parted(changed: Float[Tensor, "batch every dim"], ecg: Tokens) -> Tokens:
    """Put such a row back where its tokens came from; special tokens of zeros stay zeros."""
    if ecg.special is None:
        return ecg._replace(values=changed)
    places, there = ecg.values.shape[1], ecg.special.detach().ne(0).any(2, keepdim=True)
    return ecg._replace(values=changed[:, :places], special=changed[:, places:] * there)


def refuse_one_place(ecg: Tokens, fusion: str) -> None:
    """Refuse attention to the places of an ECG where there is only one."""
    if ecg.values.shape[1] < 2:
        raise ValueError(
            f"Fusion {fusion!r} attends to places of an ECG, and this backbone gives one token in all: "
            "say --set fusion.name=gated (or concat, film, sum), or choose another backbone."
        )
