"""Rows of different length, side by side."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from einthoven.types import Tokens


def padded(
    rows: Sequence[Float[np.ndarray, "_ dim"]], dim: int, device: torch.device | str = "cpu"
) -> Tokens:
    """Fill up with zeros that are not real; one column stands even where there is no token at all."""
    lengths = np.array([len(row) for row in rows], np.int64)
    real = np.arange(max(1, lengths.max(initial=0))) < lengths[:, None]
    values = np.zeros((*real.shape, dim), np.float32)
    if lengths.any():
        values[real] = np.concatenate(list(rows))
    return Tokens(torch.from_numpy(values).to(device), torch.from_numpy(real).to(device))


def filled(
    rows: Sequence[Sequence[int]], device: torch.device | str = "cpu"
) -> tuple[Int[Tensor, "row number"], Bool[Tensor, "row number"]]:
    """Fill up rows of numbers with zeros, and say what was there."""
    lengths = torch.tensor([len(row) for row in rows])
    there = torch.arange(max(1, max(map(len, rows), default=0))) < lengths[:, None]
    numbers = torch.zeros(there.shape, dtype=torch.long)
    numbers[there] = torch.tensor([number for row in rows for number in row], dtype=torch.long)
    return numbers.to(device), there.to(device)


def whole(text: str) -> str:
    """Replace halves of characters, which libraries refuse, by question marks."""
    return text.encode("utf-8", "replace").decode()


def alike(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Put rows of like length together, `most` numbers with their padding; rows of none are left out."""
    group: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
        if group and (len(group) + 1) * lengths[row] > most:
            yield group
            group = []
        if lengths[row]:
            group.append(row)
    if group:
        yield group
