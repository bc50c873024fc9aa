"""A small transformer over words that are spelled by hashed n-grams, trained from scratch."""

from collections.abc import Sequence

import torch
from torch import nn

from einthoven.language.ngrams import buckets, placed
from einthoven.layers.attention import Blocks, Sight, sincos, three
from einthoven.layers.digest import digest
from einthoven.types import Text, Tokens

__all__ = ["TinyTransformer"]


class TinyTransformer(Text):
    """One token per word, the first `most` of them, each of which has seen the others.

    A word goes in as the mean of the vectors of itself and of its n-grams, hashed to `rows` vectors, beside a
    fixed code of its place. `size` is [width, blocks, heads].
    """

    def __init__(self, *, size: Sequence[int] = (128, 2, 4), rows: int = 2**14, most: int = 64):
        super().__init__()
        self.dim, depth, heads = three("Text 'tiny_transformer' size", size)
        if min(rows, most) < 1:
            raise ValueError(f"Text 'tiny_transformer' needs rows and most from 1, got {rows} and {most}.")
        self.size, self.rows, self.most = tuple(size), rows, most
        self.vectors = nn.EmbeddingBag(rows, self.dim, mode="mean")
        self.blocks = Blocks(self.dim, depth, heads)

    def forward(self, texts: Sequence[str]) -> Tokens:
        """Encode reports."""
        device = self.vectors.weight.device
        known, where, taken = placed(texts, self.most)
        spelling, begins = (torch.from_numpy(x).to(device) for x in buckets(known or ["?"], self.rows))
        place, real = torch.from_numpy(where).to(device), torch.from_numpy(taken).to(device)
        sight = real.clone()
        sight[:, 0] = True  # who has no word sees itself: attention to nobody is NaN on some devices
        order = torch.arange(place.shape[1], device=device)
        words = self.vectors(spelling, begins)[place] + sincos(order, self.dim)
        return Tokens(self.blocks(words, Sight(sight)) * real[..., None], real)

    @property
    def fingerprint(self) -> str:
        """Name the options and what was learned."""
        return digest("tiny_transformer", self, self.size, self.rows, self.most)
