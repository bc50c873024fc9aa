"""Hashed character n-grams of words: nothing is learned, nothing is fitted, no language is preferred."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_matrix
from torch import Tensor

from einthoven.language.ngrams import placed, spelled
from einthoven.types import Text, Tokens

__all__ = ["Hashed"]


class Hashed(Text):
    """One token per word, whose mean points where the vector of the text does; or that vector, of length 1.

    A token counts the n-grams of 3 to 5 characters of " word ", each with a sign. In a text of more than
    `most` words a token is the sum of neighbours, so that nothing is cut.
    """

    here: Tensor

    def __init__(self, *, dim: int = 1024, per: Literal["word", "text"] = "word", most: int = 64):
        super().__init__()
        if dim < 1 or most < 1:
            raise ValueError(f"Text 'hashed' needs dim and most from 1, got {dim} and {most}.")
        self.dim, self.per, self.most = dim, per, most
        self.register_buffer("here", torch.zeros(0), persistent=False)  # knows the device

    def forward(self, texts: Sequence[str]) -> Tokens:
        """Encode reports."""
        known, where, taken = placed(texts)
        length = taken.sum(1)
        tokens = np.minimum(length, self.most if self.per == "word" else 1)
        width = max(1, int(tokens.max(initial=0)))
        text, place = taken.nonzero()
        line = text * width + place * tokens[text] // length[text]
        one = np.ones(len(line), np.float32)
        uses = csr_matrix((one, (line, where[taken])), shape=(len(texts) * width, len(known)))
        counts = (uses @ spelled(known, self.dim)).tocoo()
        device = self.here.device
        values = torch.zeros(len(texts) * width, self.dim, device=device)
        row, column, data = (torch.from_numpy(x).to(device) for x in (counts.row, counts.col, counts.data))
        values[row, column] = data
        if self.per == "text":
            values = F.normalize(values, dim=1)
        real = torch.from_numpy(np.arange(width) < tokens[:, None]).to(device)
        return Tokens(values.unflatten(0, (len(texts), width)), real)

    @property
    def fingerprint(self) -> str:
        """Name the options."""
        return f"hashed-1-{self.dim}-{self.per}-{self.most}"
