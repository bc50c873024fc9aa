"""Hide short moments at random: the masks of the PTB-XL multimodal project (2023)."""

from dataclasses import replace

import torch

from einthoven.layers.chance import chosen
from einthoven.types import Augment, Batch, Signal

__all__ = ["RandomMasks"]


class RandomMasks(Augment):
    """Set moments of all leads to zero: `rate` of them begin in a second, each of `seconds` (from, to).

    They may overlap. With the published rate and lengths a tenth of a chosen record is hidden.
    """

    def __init__(
        self,
        wants: Signal,
        *,
        seconds: tuple[float, float] = (0.08, 0.18),
        rate: float = 0.83,
        probability: float = 0.3,
    ):
        super().__init__()
        self.shortest, self.longest = (round(second * wants.hertz) for second in seconds)
        if not 1 <= self.shortest <= self.longest or not 0 <= rate <= wants.hertz:
            raise ValueError(
                "Augment 'random_masks' needs seconds = [shortest, longest] of a sample or more, and a rate "
                f"from 0 to {wants.hertz:g} a second; got {list(seconds)} and {rate:g}."
            )
        self.share, self.probability = rate / wants.hertz, probability

    def forward(self, batch: Batch) -> Batch:
        """Hide; a moment may have begun before the window does."""
        samples, device = batch.ecg.shape[2], batch.ecg.device
        shape = (len(batch.ecg), 1, self.longest - 1 + samples)
        begins = torch.rand(shape, device=device) < self.share
        long = torch.randint(self.shortest, self.longest + 1, shape, device=device)
        place = torch.arange(shape[2], device=device)
        end = torch.where(begins, place + long, 0).cummax(2).values
        hidden = (place < end)[..., self.longest - 1 :]
        return replace(batch, ecg=batch.ecg.masked_fill(hidden & chosen(batch, self.probability), 0.0))
