"""Hashed n-grams weighted by their rarity and reduced to the directions in which reports differ most.

Latent semantic analysis: Deerwester et al. 1990.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from scipy.sparse import csr_matrix, diags_array
from torch import Tensor

from einthoven.language.ngrams import counts, words
from einthoven.layers.digest import digest
from einthoven.types import Text, Tokens

__all__ = ["TfIdf"]


class TfIdf(Text):
    """One token per report, of length 1 (or 0: only n-grams that no report of training has).

    Rarity and directions are fitted on the different reports of training, and saved with the weights.
    """

    rarity: Tensor
    directions: Tensor
    fitted: Tensor

    def __init__(self, corpus: Sequence[str] = (), *, dim: int = 128, buckets: int = 2**14):
        super().__init__()
        if not 1 <= dim < buckets:
            raise ValueError(f"Text 'tfidf' needs dim from 1 to below buckets, got {dim} and {buckets}.")
        self.dim, self.buckets = dim, buckets
        self.register_buffer("rarity", torch.zeros(buckets))
        self.register_buffer("directions", torch.zeros(buckets, dim))
        self.register_buffer("fitted", torch.zeros(1, dtype=torch.uint8))
        if corpus:
            self.fit(corpus)

    def fit(self, corpus: Sequence[str]) -> None:
        """Learn which n-grams are rare and which go together; a text that many share counts once."""
        texts = sorted({text for text in corpus if words(text)})
        if not texts:
            raise ValueError(
                f"Text 'tfidf' is fitted on reports, and all {len(corpus)} of training are empty."
            )
        table = counts(texts, self.buckets)
        used = np.bincount(table.indices, minlength=self.buckets)
        rarity = np.log((1 + len(texts)) / (1 + used)) + 1
        found = directions(weighted(table, rarity), self.dim)
        self.rarity.copy_(torch.from_numpy(rarity))
        self.directions.copy_(torch.from_numpy(found))
        self.fitted.fill_(1)

    def forward(self, texts: Sequence[str]) -> Tokens:
        """Encode reports."""
        if not self.fitted:
            raise ValueError(
                "Text 'tfidf' is not fitted: it needs the reports of training, or the weights of a run."
            )
        device = self.rarity.device
        table = weighted(counts(texts, self.buckets), self.rarity.cpu().numpy())
        row, column = (torch.from_numpy(x).to(device) for x in (table.tocoo().row, table.indices))
        weight = torch.from_numpy(table.data).to(device)[:, None]
        values = torch.zeros(len(texts), self.dim, device=device)
        values.index_add_(0, row.long(), self.directions[column] * weight)
        real = torch.tensor([[bool(words(text))] for text in texts], dtype=torch.bool, device=device)
        return Tokens(F.normalize(values, dim=1)[:, None], real.reshape(len(texts), 1))

    @property
    def fingerprint(self) -> str:
        """Name the options and what was fitted."""
        return digest("tfidf", self, self.dim, self.buckets)


def weighted(table: csr_matrix, rarity: Float[np.ndarray, " bucket"]) -> csr_matrix:
    """Weight counts by rarity and bring each row to length 1."""
    heavy = csr_matrix(table @ diags_array(rarity.astype(np.float32)))
    length = np.sqrt(np.asarray(heavy.power(2).sum(1)).ravel())
    heavy.data /= np.repeat(length, np.diff(heavy.indptr))
    return heavy


def directions(table: csr_matrix, dim: int) -> Float[np.ndarray, "bucket dim"]:
    """Return the right singular vectors of the largest singular values; zeros where there are fewer."""
    from sklearn.utils.extmath import randomized_svd

    rank = min(dim, *table.shape)
    vectors = randomized_svd(table, rank, n_iter=7, random_state=0)[2]
    found = np.zeros((table.shape[1], dim), np.float32)
    found[:, :rank] = vectors.T
    return found
