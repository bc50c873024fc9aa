"""ECGs and their reports in one space. CLIP: arXiv:2103.00020. For ECGs: Liu et al. 2024, arXiv:2403.06659.

Reports say much of what labels say, so what this learns is report-supervised, not self-supervised.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import log
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from einthoven.language.lexicon import lexicon
from einthoven.layers.paired import (
    Pairs,
    all_alike,
    clip,
    hits,
    one_each,
    paired,
    pooled,
    sigmoid,
    spreads,
    unit,
)
from einthoven.layers.pool import mean
from einthoven.layers.space import products
from einthoven.types import Backbone, Batch, Method, Outputs, Text

__all__ = ["Dual"]

LOSSES = {"clip": clip, "sigmoid": sigmoid}
SHARPEST = 100.0  # 1 / temperature, as published
BIAS = -10.0  # of loss "sigmoid" at first, as published: nearly all pairs belong apart


class Dual(Method):
    """Bring an ECG near its report and away from the other reports of the batch, both as unit vectors.

    Equal reports count once: a batch's columns are its different texts. With `same` = "concepts" a column is
    what texts mean: those in which the lexicon finds the same concepts are one, at their mean direction (one
    in which it finds nothing stands for itself). Who has no report takes part in nothing. The temperature is
    learned, and with loss "sigmoid" a bias.

    `hard` lets reports like an ECG's own count for more among those that it is pushed away from: exp(hard x
    cosine of the two reports), 1 on average; 0 counts all alike. `drop_text` is the share of a report's
    pooled numbers that dropout hides. Several processes compare within their own batches.
    """

    def __init__(
        self,
        backbone: Backbone,
        text: Text,
        *,
        loss: Literal["clip", "sigmoid"] = "clip",
        size: int = 128,
        temperature: float = 0.07,
        same: Literal["text", "concepts"] = "text",
        hard: float = 0.0,
        drop_text: float = 0.0,
    ):
        super().__init__()
        if size < 2 or hard < 0 or not 0 <= drop_text < 1:
            raise ValueError(
                "Method 'dual' needs size from 2, hard from 0 and drop_text from 0 to below 1, "
                f"got {size}, {hard:g} and {drop_text:g}."
            )
        if temperature < 1 / SHARPEST:
            raise ValueError(f"Method 'dual' needs a temperature from {1 / SHARPEST:g}, got {temperature:g}.")
        self.backbone, self.text = backbone, text
        self.loss, self.same, self.hard = loss, same, hard
        self.ecg_side, self.text_side = nn.Linear(backbone.dim, size), nn.Linear(text.dim, size)
        self.drop = nn.Dropout(drop_text)
        self.sharpness = nn.Parameter(torch.tensor(-log(temperature)))
        self.bias = nn.Parameter(torch.tensor(BIAS)) if loss == "sigmoid" else None
        self.undecayed = ("sharpness",) if self.bias is None else ("sharpness", "bias")

    def read(self, texts: Sequence[str]) -> Float[Tensor, "text size"]:
        """Place texts among the ECGs: unit vectors, float32."""
        return unit(self.text_side, self.drop(pooled(self.text(texts))))

    def placed(self, batch: Batch) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch size"]]:
        """Return the features of ECGs, and where they stand among the texts: unit vectors, float32."""
        tokens = self.backbone(batch.ecg, batch.leads)
        return mean(tokens), unit(self.ecg_side, pooled(tokens))

    def outputs(self, batch: Batch) -> Outputs:
        """Answer; needs no report. With reports also where those stand: zeros where there is none."""
        features, ecg = self.placed(batch)
        outputs = Outputs(features=features, embedding=ecg)
        if batch.text is not None:
            pairs, words = paired(batch.text, ecg.device), torch.zeros_like(ecg)
            if pairs.texts:
                words[pairs.ecg] = self.read(pairs.texts)[pairs.column]
            outputs["text_embedding"] = words
        return outputs

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Learn."""
        if batch.text is None:
            raise ValueError("Method 'dual' learns from reports, and this recipe gives it none.")
        ecg = self.placed(batch)[1]
        pairs = paired(batch.text, ecg.device, concepts if self.same == "concepts" else str)
        if pairs.columns < 2:
            return self.nothing(ecg, pairs)
        ecg, words = ecg[pairs.ecg], self.read(pairs.texts)
        columns = one_each(words, pairs)
        cosine, own = products(ecg, columns), pairs.own
        score = cosine * self.sharpness.exp() + (0 if self.bias is None else self.bias)
        likeness = None
        if self.hard:
            apart = columns.detach()
            likeness = self.hard * products(apart, apart)[pairs.column]
        told = {"loss": LOSSES[self.loss](score, own, likeness), "temperature": self.temperature}
        told |= {"report_found": hits(cosine, own), "ecg_found": hits(cosine.T, own.T)}
        return told | ({} if self.training else spreads({"ecg": ecg, "text": words}))

    @property
    def temperature(self) -> Float[Tensor, ""]:
        """What the cosines are divided by."""
        return (-self.sharpness).exp()

    def nothing(self, ecg: Float[Tensor, "batch size"], pairs: Pairs) -> dict[str, Tensor]:
        """Return a loss of zero with a gradient: fewer than two different reports tell nothing.

        In training it logs what every batch logs: processes average their logs name by name.
        """
        reached = [ecg.sum(), self.sharpness, *([] if self.bias is None else [self.bias])]
        reached += [self.read(pairs.texts).sum()] if pairs.texts else []
        told = {"loss": 0 * torch.stack(reached).sum()}
        never = torch.zeros((), device=ecg.device)
        logged = {"temperature": self.temperature, "report_found": never, "ecg_found": never}
        return told | (logged if self.training else {})

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Keep the temperature from falling ever lower."""
        self.sharpness.clamp_(0, log(SHARPEST))

    def alarms(self, logs: Mapping[str, float]) -> Sequence[str]:
        """Say whether all ECGs, or all reports, look alike."""
        return all_alike(logs, {"ecg": "ECG", "text": "report"})


@lru_cache(maxsize=100_000)
def concepts(text: str) -> bytes | str:
    """Return what the lexicon finds in a text; where it finds nothing, the text itself."""
    (tags,) = lexicon().tag([text])
    return tags.tobytes() if tags.any() else text
