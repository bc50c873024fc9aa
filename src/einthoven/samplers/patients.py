"""Several ECGs of each patient meet in a batch, for losses that compare patients."""

from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from einthoven.types import Sampler

__all__ = ["Patients"]


class Patients(Sampler):
    """Every patient once per epoch, in a new order, with `records` of their ECGs side by side.

    A batch holds `batch // records` patients; those that do not fill one wait for another epoch. The ECGs of
    a patient are chosen at random, and repeated only if there are fewer than `records`; `alone` says whether
    patients with a single ECG take part ("repeat") or not ("skip").
    """

    def __init__(
        self,
        rows: Int[Tensor, " record"],
        patients: Int[Tensor, " record"],
        batch: int,
        seed: int,
        *,
        records: int = 2,
        alone: Literal["repeat", "skip"] = "repeat",
    ):
        who, order = patients.unique(return_inverse=True)[1].sort(stable=True)
        counts = who.bincount()
        part = counts > (alone == "skip")
        refuse_few(int(part.sum()), batch, records, alone)
        self.seed, self.records, self.rows, self.who = seed, records, rows[order], who
        self.first, self.counts = (counts.cumsum(0) - counts)[part], counts[part]
        self.together = min(batch // records, len(self.counts))
        self.steps = len(self.counts) // self.together

    def plan(self, epoch: int) -> Int[Tensor, "step batch"]:
        """Draw by (seed, epoch)."""
        chance = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        luck = torch.rand(len(self.rows), generator=chance, dtype=torch.float64)
        shuffled = (self.who + luck).argsort(stable=True)  # each patient's ECGs stay side by side
        chosen = torch.randperm(len(self.counts), generator=chance)[: self.steps * self.together]
        turn = torch.arange(self.records) % self.counts[chosen, None]
        place = shuffled[self.first[chosen, None] + turn]
        return self.rows[place].view(self.steps, self.together * self.records)


def refuse_few(patients: int, batch: int, records: int, alone: str) -> None:
    """Refuse a batch that would not hold two patients."""
    if records < 1 or batch < 2 * records:
        raise ValueError(
            f"Sampler 'patients' puts two patients or more into a batch, with records = {records} (from 1) "
            f"ECGs each: set [train] batch from {2 * max(records, 1)}, not {batch}."
        )
    if patients < 2:
        several, mend = (" with two ECGs or more", "alone = 'repeat', or ") if alone == "skip" else ("", "")
        raise ValueError(
            f"Sampler 'patients' needs two patients{several}; the training split has {patients}: "
            f"set {mend}[sampler] name = 'shuffled'."
        )
