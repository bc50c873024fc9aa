"""Learn what reports say of each concept of the lexicon: what contrastive learning must beat."""

import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from einthoven.language.lexicon import lexicon
from einthoven.layers.known import average
from einthoven.layers.paired import all_alike, pooled, spreads
from einthoven.layers.pool import mean
from einthoven.types import Backbone, Batch, Method, Outputs

__all__ = ["Concepts"]


class Concepts(Method):
    """One answer per concept of the lexicon, by cross-entropy: is it in the report of this ECG?

    The target is 1 where a report says a concept, 0.5 where it is not sure, else 0: what it denies, and what
    it does not mention. Who has no report takes part in nothing. Concepts that fewer than `least` training
    reports say (1) or hint at (0.5) are not learned. Output `embedding` is a unit vector of two numbers per
    concept, the roots of its probability and of what is left of 1; a prompt is read as the concepts in it,
    so their cosine rises with the probability of what the prompt says, and zero-shot works as with `dual`.
    """

    learned: Tensor
    lexicon: Tensor  # that of these weights

    def __init__(self, backbone: Backbone, corpus: Sequence[str] = (), *, least: int = 0):
        super().__init__()
        if least < 0:
            raise ValueError(f"Method 'concepts' needs least from 0, got {least}.")
        self.backbone = backbone
        self.answer = nn.Linear(backbone.dim, len(lexicon().concepts))
        said = [tags(text) for text in corpus if text]
        refuse_unread(said)
        counts = (
            torch.from_numpy(np.sum(said, axis=0)) if said else torch.full_like(self.answer.bias, torch.inf)
        )
        self.register_buffer("learned", counts >= least)
        self.register_buffer("lexicon", torch.tensor(fingerprint()))
        self.register_load_state_dict_post_hook(refuse_other_lexicon)
        if not self.learned.any():
            raise ValueError(f"No concept is in {least} training reports: say a smaller [method] least.")
        if said:  # begin at how often each is said
            with torch.no_grad():
                self.answer.bias.copy_((counts / len(said)).clamp(1e-4, 1 - 1e-4).logit())

    def outputs(self, batch: Batch) -> Outputs:
        """Answer; needs no report."""
        tokens = self.backbone(batch.ecg, batch.leads)
        logits = self.answer(pooled(tokens)).float()
        halves = torch.cat([F.logsigmoid(logits), F.logsigmoid(-logits)], 1) / 2
        embedding = halves.exp() / logits.shape[1] ** 0.5
        return Outputs(features=mean(tokens), concepts=logits, embedding=embedding)

    def read(self, texts: Sequence[str]) -> Float[Tensor, "text size"]:
        """Place texts among the ECGs by what they say: unit vectors, zeros where that is nothing learned."""
        said = self.tagged(texts) * self.learned
        return F.normalize(torch.cat([said, torch.zeros_like(said)], 1), dim=1)

    def tagged(self, texts: Sequence[str]) -> Float[Tensor, "text concept"]:
        """Say what the lexicon finds in each text."""
        found = np.stack([tags(text) for text in texts]) if texts else np.zeros((0, len(self.learned)))
        return torch.from_numpy(found.astype(np.float32)).to(self.answer.weight.device)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Learn."""
        if batch.text is None:
            raise ValueError("Method 'concepts' learns from reports, and this recipe gives it none.")
        outputs = self.outputs(batch)
        each = F.binary_cross_entropy_with_logits(
            outputs["concepts"], self.tagged(batch.text), reduction="none"
        )
        has = torch.tensor([bool(text) for text in batch.text], device=each.device)
        told = {"loss": average(each, has[:, None] & self.learned)}
        return told | ({} if self.training else spreads({"ecg": outputs["features"]}))

    def alarms(self, logs: Mapping[str, float]) -> Sequence[str]:
        """Say whether all ECGs look alike."""
        return all_alike(logs, {"ecg": "ECG"})


def refuse_unread(said: Sequence[Float[np.ndarray, " concept"]]) -> None:
    """Refuse training reports in which the lexicon finds nothing; of many, say so."""
    few = sum(bool(found.any()) for found in said)
    about = "the lexicon, which knows German, English and Swedish, finds"
    if said and not few:
        raise ValueError(
            f"Method 'concepts': {about} no concept in any of {len(said):,} training reports; say [method] "
            "name = 'dual', which learns from their words."
        )
    if few < len(said) / 2:
        told = f"{about} a concept in {few:,} of {len(said):,} training reports only"
        warnings.warn(f"Method 'concepts': {told}; what it does not find counts as absent.", stacklevel=3)


@lru_cache(maxsize=100_000)
def tags(text: str) -> Float[np.ndarray, " concept"]:
    """Return what the lexicon finds in a text, once for each different text."""
    (found,) = lexicon().tag([text])
    return np.asarray(found, np.float32)


def fingerprint() -> list[int]:
    """Tell the concepts of the lexicon and their order, in four numbers."""
    told = sha256("\n".join(lexicon().concepts).encode()).digest()
    return [int.from_bytes(told[i : i + 4]) for i in range(0, 16, 4)]


def refuse_other_lexicon(method: nn.Module, keys: object) -> None:
    """Refuse weights that were learned with other concepts, or in another order."""
    if method.get_buffer("lexicon").tolist() != fingerprint():
        raise RuntimeError("it was learned with another version of the lexicon.")
