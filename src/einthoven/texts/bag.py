"""A bag of words and their n-grams with learned vectors.

fastText: Bojanowski et al. 2017, arXiv:1607.04606.
"""

from collections.abc import Sequence

import torch
from torch import nn

from einthoven.language.ngrams import buckets, placed
from einthoven.layers.digest import digest
from einthoven.types import Text, Tokens

__all__ = ["Bag"]


class Bag(Text):
    """One token per word, the first `most` of them: the mean of the vectors of the word and of its n-grams.

    Words and n-grams are hashed to `rows` vectors, so that a word never seen has the n-grams that it shares.
    """

    def __init__(self, *, dim: int = 128, rows: int = 2**14, most: int = 64):
        super().__init__()
        if min(dim, rows, most) < 1:
            raise ValueError(f"Text 'bag' needs dim, rows and most from 1, got {dim}, {rows} and {most}.")
        self.dim, self.rows, self.most = dim, rows, most
        self.vectors = nn.EmbeddingBag(rows, dim, mode="mean")

    def forward(self, texts: Sequence[str]) -> Tokens:
        """Encode reports."""
        device = self.vectors.weight.device
        known, where, taken = placed(texts, self.most)
        spelling, begins = (torch.from_numpy(x).to(device) for x in buckets(known or ["?"], self.rows))
        place, real = torch.from_numpy(where).to(device), torch.from_numpy(taken).to(device)
        return Tokens(self.vectors(spelling, begins)[place] * real[..., None], real)

    @property
    def fingerprint(self) -> str:
        """Name the options and what was learned."""
        return digest("bag", self, self.dim, self.rows, self.most)
