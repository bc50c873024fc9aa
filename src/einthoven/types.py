"""The nouns every floor shares, and the abstract parts.

Axes: batch, lead, time (samples), token, dim, label. Signals are float32 millivolts.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from einthoven.ecg import LEADS, Record, Signal, Signals, Source

__all__ = [
    "LEADS",
    "Augment",
    "Backbone",
    "Batch",
    "Distance",
    "Fusion",
    "Head",
    "Loss",
    "Method",
    "Miner",
    "Outputs",
    "PatchBackbone",
    "Patches",
    "Record",
    "Sampler",
    "Signal",
    "Signals",
    "Source",
    "Text",
    "Tokens",
    "Triplets",
]


@dataclass(frozen=True)
class Batch:
    """What a loader yields, an augment changes and a method learns from. Views are rows."""

    ecg: Float[Tensor, "batch lead time"]  # mV: resampled, filtered, cropped, augmented; never scaled
    row: Int[Tensor, " batch"]  # place in the store, which knows the record id and the raw signal
    patient: Int[Tensor, " batch"]  # a number, so that it compares on the device
    leads: Int[Tensor, "batch lead"] | None = None  # into LEADS, -1 absent; None: exactly wants.leads
    target: Float[Tensor, "batch label"] | None = None  # NaN: unknown
    text: tuple[str, ...] | None = None  # what the policy lets through of each report; "": there is none
    columns: Mapping[str, Float[Tensor, " batch"]] = field(default_factory=dict)

    def to(self, device: str | torch.device) -> "Batch":
        """Move every tensor."""
        return self._map(lambda x: x.to(device, non_blocking=True))

    def take(self, index: Int[Tensor, " rows"]) -> "Batch":
        """Pick rows, with repetition: how one record becomes two views."""
        picked, text = self._map(lambda x: x[index]), self.text
        return picked if text is None else replace(picked, text=tuple(text[i] for i in index.tolist()))

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {k: change(value) for k, value in parts.items() if isinstance(value, Tensor)}
        return replace(self, **moved, columns={name: change(v) for name, v in self.columns.items()})


class Tokens(NamedTuple):
    """What a backbone says. `special` tokens have no place in time: CLS, an LSTM's final state."""

    values: Float[Tensor, "batch token dim"]
    real: Bool[Tensor, "batch token"] | None = None  # None: all are
    special: Float[Tensor, "batch special dim"] | None = None
    lead: Int[Tensor, "batch token"] | None = None  # into LEADS, where each token is of one lead


class Patches(NamedTuple):
    """Raw pieces of scaled ECGs and where each was cut.

    `rows`: they form so many equal rows, one a lead; `aligned`: these hold the same times, column by column.
    """

    values: Float[Tensor, "batch patch samples"]
    lead: Int[Tensor, "batch patch"]  # into LEADS; len(LEADS): all leads together
    time: Int[Tensor, "batch patch"]  # 0, 1, 2 ... along the crop
    real: Bool[Tensor, "batch patch"] | None = None  # None: all are; an absent lead's are not
    rows: int | None = None
    aligned: bool = False

    def take(
        self, where: Int[Tensor, "batch kept"], rows: int | None = None, *, aligned: bool = False
    ) -> "Patches":
        """Pick patches; say `rows` if as many are picked from every row, row by row."""
        values = self.values.gather(1, where[..., None].expand(-1, -1, self.values.shape[2]))
        lead, time = self.lead.gather(1, where), self.time.gather(1, where)
        real = None if self.real is None else self.real.gather(1, where)
        return Patches(values, lead, time, real, rows, aligned)

    def present(self) -> "Patches":
        """Leave out the rows of leads that no ECG of the batch has: fewer leads, fewer tokens."""
        if self.real is None or self.rows is None:
            return self
        here = self.real.unflatten(1, (self.rows, -1)).any(0)  # row patch
        kept = here.any(1)
        if kept.all() or not kept.any():
            return self
        where = kept.repeat_interleave(here.shape[1]).nonzero()[:, 0]
        some = self.take(where.expand(len(self.lead), -1), int(kept.sum()), aligned=self.aligned)
        return some if some.real is None or not some.real.all() else some._replace(real=None)


class Triplets(NamedTuple):
    """Places in a batch: of an anchor, of one that belongs to it and of one that does not."""

    anchor: Int[Tensor, " triplet"]
    positive: Int[Tensor, " triplet"]
    negative: Int[Tensor, " triplet"]


class Outputs(dict[str, Tensor]):
    """Named answers: `features` always, then what the heads add (`logits`, `embedding` ...)."""

    def __missing__(self, name: str) -> Tensor:
        raise ValueError(f"Nothing here is named {name!r}: the heads of this recipe give {', '.join(self)}.")


class Backbone(nn.Module, ABC):
    """Turn ECGs into tokens. `wants` is its input, `dim` the width of a token."""

    kind: ClassVar[str] = "backbones"
    wants: Signal
    dim: int
    bound: tuple[str, ...] = ("hertz", "band", "scale", "leads")  # what of a signal its weights depend on
    settled: ClassVar[tuple[str, ...]] = ()  # options that no shape of a weight tells: a start keeps them

    @abstractmethod
    def forward(
        self, ecg: Float[Tensor, "batch lead time"], leads: Int[Tensor, "batch lead"] | None = None
    ) -> Tokens:
        """Encode ECGs in millivolts; begin with `self.admit(ecg, leads)`."""

    def admit(
        self, ecg: Float[Tensor, "batch lead time"], leads: Int[Tensor, "batch lead"] | None = None
    ) -> Float[Tensor, "batch wanted time"]:
        """Put leads in the wanted order by name, zeros where absent; check the length and scale."""
        ordered, present = self.ordered(ecg, leads)
        return scaled(ordered, present, self.wants)

    def ordered(
        self, ecg: Float[Tensor, "batch lead time"], leads: Int[Tensor, "batch lead"] | None = None
    ) -> tuple[Float[Tensor, "batch wanted time"], Bool[Tensor, "batch wanted"] | None]:
        """Put leads in the wanted order by name and say which are present (None: all); check the length."""
        if ecg.shape[2] != self.wants.samples:
            raise ValueError(f"Got {ecg.shape[2]} samples; this backbone reads {self.wants.samples}.")
        if leads is None:
            if ecg.shape[1] != len(self.wants.leads):
                raise ValueError(
                    f"Got {ecg.shape[1]} leads without names; this backbone reads {len(self.wants.leads)}."
                )
            return ecg, None
        wanted = torch.tensor([LEADS.index(name) for name in self.wants.leads], device=ecg.device)
        match = wanted[None, :, None] == leads[:, None, :]  # batch wanted lead
        present, place = match.any(2), match.int().argmax(2)[..., None]
        picked = ecg.gather(1, place.expand(-1, -1, ecg.shape[2]))  # not a product, which bf16 would round
        return picked * present[..., None], present


class PatchBackbone(Backbone):
    """A backbone that can read part of an ECG. `patch` is (leads, samples): one lead, or all of `wants`."""

    patch: tuple[int, int]

    @abstractmethod
    def encode(self, patches: Patches) -> Tokens:
        """Relate the given patches to each other; token i is patch i."""

    def forward(
        self, ecg: Float[Tensor, "batch lead time"], leads: Int[Tensor, "batch lead"] | None = None
    ) -> Tokens:
        """Encode whole ECGs in millivolts; leads that are absent throughout the batch cost nothing."""
        return self.encode(self.patchify(ecg, leads).present())

    def patchify(
        self, ecg: Float[Tensor, "batch lead time"], leads: Int[Tensor, "batch lead"] | None = None
    ) -> Patches:
        """Scale and cut ECGs in millivolts, lead by lead: also what those who reconstruct aim at.

        A lead that is zero throughout is absent: nothing was plugged in. A rest shorter than a patch is left.
        """
        ordered, present = self.ordered(ecg, leads)
        live = ordered.ne(0).any(2)
        present = live if present is None else present & live
        cut = scaled(ordered, present, self.wants).unfold(2, self.patch[1], self.patch[1])
        batch, rows, steps, _ = cut.shape
        time = torch.arange(steps, device=ecg.device).repeat(rows).expand(batch, -1)
        if self.patch[0] > 1:
            values = cut.transpose(1, 2).flatten(2)
            return Patches(
                values, torch.full_like(time[:, :steps], len(LEADS)), time[:, :steps], rows=1, aligned=True
            )
        named = torch.tensor([LEADS.index(name) for name in self.wants.leads], device=ecg.device)
        lead = named.repeat_interleave(steps).expand(batch, -1)
        real = None if bool(present.all()) else present.repeat_interleave(steps, 1)
        return Patches(cut.flatten(1, 2), lead, time, real, rows, aligned=True)


def scaled(
    ecg: Float[Tensor, "batch lead time"], present: Bool[Tensor, "batch lead"] | None, wants: Signal
) -> Float[Tensor, "batch lead time"]:
    """Bring millivolts to what a network reads; absent leads stay zero."""
    if wants.scale == "none":
        return ecg
    if present is None:
        present = torch.ones(ecg.shape[:2], dtype=torch.bool, device=ecg.device)
    here = present[..., None].to(ecg.dtype)
    if wants.scale == "crop":
        count = here.sum((1, 2), keepdim=True).clamp(min=1) * ecg.shape[2]
        mean = (ecg * here).sum((1, 2), keepdim=True) / count
        sd = (((ecg - mean) * here).square().sum((1, 2), keepdim=True) / count).sqrt()
        return (ecg - mean) / sd.clamp(min=1e-6) * here
    if wants.scale == "train":
        raise ValueError("[signal] scale = 'train' must be fitted on training ECGs first.")
    mean_mv, sd_mv = wants.scale
    return (ecg - mean_mv) / sd_mv * here


class Head(nn.Module, ABC):
    """Turn tokens into named outputs; the pooling is its own. `gives` names them."""

    kind: ClassVar[str] = "heads"
    gives: tuple[str, ...] = ("logits",)

    @abstractmethod
    def forward(self, tokens: Tokens) -> dict[str, Tensor]:
        """Answer for a batch."""


class Loss(nn.Module, ABC):
    """Turn named outputs into one scalar; may own weights. `asks` names the outputs that it reads."""

    kind: ClassVar[str] = "losses"
    asks: ClassVar[tuple[str, ...]] = ("logits",)
    serves: tuple[str, ...] = ("labels", "multiclass", "regression")  # kinds of task; also "unlabelled"
    reads: tuple[str, ...] = ()  # columns of the store that it wants in the batch

    @abstractmethod
    def forward(self, outputs: Outputs, batch: Batch) -> Float[Tensor, ""]:
        """Score a batch: finite, and with a gradient even when there is nothing to learn."""


class Miner(nn.Module, ABC):
    """Choose triplets from a batch. Chance comes from torch's generator; memory is none, or a memo."""

    kind: ClassVar[str] = "miners"
    asks: ClassVar[tuple[str, ...]] = ()  # outputs of the heads that it reads
    serves: tuple[str, ...] = ("labels", "multiclass", "regression", "unlabelled")
    reads: tuple[str, ...] = ()  # columns of the store that it wants in the batch

    @abstractmethod
    def forward(self, outputs: Outputs, batch: Batch) -> Triplets:
        """Choose, without gradient; none at all is an answer, too."""


class Distance(ABC):
    """Measure how far whole raw ECGs lie apart: before any crop, augmentation or scaling."""

    kind: ClassVar[str] = "distances"

    @abstractmethod
    def among(self, rows: Int[np.ndarray, " row"]) -> Float[np.ndarray, "row row"]:
        """Return the distances between some rows of the store: symmetric, zero between a row and itself."""


class Augment(nn.Module, ABC):
    """Change a batch on its device, in training only; may change the number of rows.

    One that makes `views`, several rows of a record to compare, also serves when a loss is validated.
    """

    kind: ClassVar[str] = "augments"
    views: ClassVar[bool] = False

    @abstractmethod
    def forward(self, batch: Batch) -> Batch:
        """Draw only from torch's global generator."""


class Sampler(ABC):
    """Which records meet in which batch: a pure function of the epoch, so nothing to save."""

    kind: ClassVar[str] = "samplers"
    steps: int  # batches in an epoch, the same each epoch

    @abstractmethod
    def plan(self, epoch: int) -> Int[Tensor, "step batch"]:
        """Return rows of the store."""


class Text(nn.Module, ABC):
    """Turn reports into tokens. `dim` is their width; a text without words ("") has no real token.

    What it fits, it fits on `corpus` (reports of training) and keeps in buffers of a fixed size: for use it
    is built again without. No vocabulary: words are hashed, or belong to a model's own files.
    """

    kind: ClassVar[str] = "texts"
    dim: int

    @abstractmethod
    def forward(self, texts: Sequence[str]) -> Tokens:
        """Encode reports, on the device of its own tensors; `real` says which tokens are."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Name what it would say: equal for equal options and fits, else another."""

    def check(self, texts: Sequence[str]) -> None:
        """Refuse texts that it cannot encode: asked of all that a run will see, before it begins."""
        del texts


class Fusion(nn.Module, ABC):
    """Put a report beside an ECG: tokens of the ECG's width come out, so that any head fits."""

    kind: ClassVar[str] = "fusions"
    needs_words: ClassVar[bool] = False  # it attends to single words

    @abstractmethod
    def forward(self, ecg: Tokens, text: Tokens) -> Tokens:
        """Fuse a batch; either side has at least one real token in every row."""


class Method(nn.Module, ABC):
    """A way of learning."""

    kind: ClassVar[str] = "methods"
    backbone: Backbone

    @abstractmethod
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return scalars to log; `loss` is the one to minimise."""

    @abstractmethod
    def outputs(self, batch: Batch) -> Outputs:
        """Answer without learning: `features`, and `logits` where there is a head."""

    def drawn(self, batch: Batch) -> Float[Tensor, "batch wanted time"] | None:
        """Draw ECGs as this method has learned to (eval mode), for who looks; None: it does not draw.

        In mV: the wanted leads over the window, NaN where nothing is drawn. Chance from torch's generator.
        """
        return None

    def after_step(self, progress: float) -> None:
        """Run after each optimiser step; `progress` rises to 1 (for teachers)."""

    def alarms(self, logs: Mapping[str, float]) -> Sequence[str]:
        """Say what is wrong, by the means of what `forward` logged over some steps: one line each."""
        return ()
