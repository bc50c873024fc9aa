"""Time-frequency consistency: an ECG and its spectrum, each read by a network of its own, should agree.

Zhang et al. 2022 (NeurIPS), arXiv:2206.08496.
"""

from copy import deepcopy
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from einthoven.layers.several import Heads, Losses
from einthoven.types import Backbone, Batch, Method, Outputs

__all__ = ["TFC"]


class TFC(Method):
    """Learn from views of an ECG in time, from views of its spectrum, and from both as views of one record.

    The recipe's losses score three batches: L = (1 - c) (time + spectrum) + c both, c = `consistency`. The
    spectrum is |FFT| / sqrt(samples), of the same length and energy as the ECG; in training the share
    `perturb` of its components is taken out, and as large a share raised by up to half the largest one.
    What comes after the training (answers, features, `start`) reads the network of time.
    """

    def __init__(
        self,
        backbone: Backbone,
        heads: Heads,
        losses: Losses,
        *,
        frequency: Backbone,
        consistency: float = 0.8,
        perturb: float = 0.05,
    ):
        super().__init__()
        if not (0 <= consistency <= 1 and 0 <= perturb < 0.5):
            raise ValueError(
                "Method 'tf_c' needs consistency from 0 to 1 and perturb from 0 to below 0.5, "
                f"got {consistency:g} and {perturb:g}."
            )
        if frequency.dim != backbone.dim:
            raise ValueError(
                f"Method 'tf_c' has one kind of head for both networks: [method.frequency] gives tokens of "
                f"{frequency.dim}, [backbone] of {backbone.dim}."
            )
        self.backbone, self.heads, self.losses = backbone, heads, losses
        self.frequency, self.spectral_heads = frequency, deepcopy(heads)
        self.consistency, self.perturb = consistency, perturb

    def outputs(self, batch: Batch) -> Outputs:
        """Answer from the ECG in time."""
        outputs: Outputs = self.heads(self.backbone(batch.ecg, batch.leads))
        return outputs

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Learn."""
        time = self.outputs(batch)
        seen = self.perturbed(spectrum(batch.ecg)) if self.training else spectrum(batch.ecg)
        frequency: Outputs = self.spectral_heads(self.frequency(seen, batch.leads))
        shared = [name for name in time if time[name].shape[1:] == frequency[name].shape[1:]]
        both = Outputs({name: torch.cat([time[name], frequency[name]]) for name in shared})
        every = torch.arange(len(batch.row), device=batch.row.device)
        twice = replace(batch, ecg=batch.ecg[..., :0]).take(torch.cat([every, every]))
        each = {
            "time": self.losses(time, batch)["loss"],
            "frequency": self.losses(frequency, batch)["loss"],
            "both": self.losses(both, twice)["loss"],
        }
        alone = each["time"] + each["frequency"]
        total = (1 - self.consistency) * alone + self.consistency * each["both"]
        return {"loss": total} | {f"loss/{name}": value for name, value in each.items()}

    def perturbed(
        self, spectra: Float[Tensor, "batch lead frequency"]
    ) -> Float[Tensor, "batch lead frequency"]:
        """Take components out, raise others."""
        luck = torch.rand_like(spectra)
        raised = torch.rand_like(spectra) * spectra.amax(2, keepdim=True) / 2
        added = torch.where(luck > 1 - self.perturb, raised, 0.0)
        return spectra.masked_fill(luck < self.perturb, 0.0) + added


def spectrum(ecg: Float[Tensor, "batch lead time"]) -> Float[Tensor, "batch lead time"]:
    """Return how much of each frequency an ECG holds; by Parseval the squares sum to the ECG's own."""
    held: Tensor = torch.fft.fft(ecg.float(), norm="ortho").abs()
    return held
