"""Made-up pairs of ECGs and texts, and tiny networks that read them."""

from collections.abc import Sequence
from zlib import crc32

import torch
from torch import Tensor, nn

from einthoven.types import Backbone, Batch, Signal, Text, Tokens

WANTS = Signal(seconds=0.5)
KINDS = 40


class Lines(Backbone):
    """A convolution, a token each 50 ms."""

    def __init__(self, dim: int = 16):
        super().__init__()
        self.wants, self.dim, self.line = WANTS, dim, nn.Conv1d(12, dim, 5, stride=5)

    def forward(self, ecg: Tensor, leads: Tensor | None = None) -> Tokens:
        return Tokens(self.line(self.admit(ecg, leads)).relu().transpose(1, 2))


class Words(Text):
    """A learned vector for each of 512 hashes of words."""

    def __init__(self, dim: int = 12):
        super().__init__()
        self.dim, self.table = dim, nn.Embedding(512, dim)

    @property
    def fingerprint(self) -> str:
        return "words"

    def forward(self, texts: Sequence[str]) -> Tokens:
        places = [[crc32(word.encode()) % 512 for word in text.split()] for text in texts]
        longest = max([1, *map(len, places)])
        real = torch.tensor([[i < len(some) for i in range(longest)] for some in places])
        real = real.reshape(len(texts), longest)
        filled = torch.tensor([some + [0] * (longest - len(some)) for some in places], dtype=torch.int64)
        return Tokens(self.table(filled.reshape(len(texts), longest)) * real[..., None], real)


def batch_of(*texts: str, seed: int = 0) -> Batch:
    """Noise, with these texts."""
    ecg = torch.randn(len(texts), 12, 50, generator=torch.Generator().manual_seed(seed))
    row = torch.arange(len(texts))
    return Batch(ecg=ecg, row=row, patient=row, text=texts)


def world(records: int, seed: int, *, shuffled: bool = False) -> Batch:
    """Noisy ECGs of some kinds, each with the text of its kind, or with that of another record."""
    patterns = torch.randn(KINDS, 12, 50, generator=torch.Generator().manual_seed(7))
    chance = torch.Generator().manual_seed(seed)
    kind = torch.randint(KINDS, (records,), generator=chance)
    ecg = 0.5 * patterns[kind] + torch.randn(records, 12, 50, generator=chance)
    told = kind[torch.randperm(records, generator=chance)] if shuffled else kind
    text = tuple(f"pattern{i} family{i % 7}" for i in told.tolist())
    return Batch(ecg=ecg, row=torch.arange(records), patient=torch.arange(records), text=text)
