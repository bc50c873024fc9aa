"""Triplets by patient: no label is read, only who it is.

Diamant et al. 2022, doi:10.1371/journal.pcbi.1009862 (PCLR), as triplets.
"""

from einthoven.layers.kin import together
from einthoven.layers.pick import prefer, triplets
from einthoven.types import Batch, Miner, Outputs, Triplets

__all__ = ["SamePatient"]


class SamePatient(Miner):
    """Positive: any other record of the anchor's patient; negative: any record of another patient.

    Where the patient has one record in the batch, another view of it is the positive; an anchor with neither
    gets no triplet. Sampler `patients` brings several records of a patient together.
    """

    def forward(self, outputs: Outputs, batch: Batch) -> Triplets:
        """Choose by `batch.patient`."""
        other_patient = batch.patient[:, None] != batch.patient
        positive = together(batch, "patient")
        return triplets(prefer(positive & (batch.row[:, None] != batch.row), positive), other_patient)
