"""The training loop. There is one."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import torch
from torch import Tensor, nn

from einthoven.types import Batch, Method

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast to learn.

    `one_cycle` is the benchmark's: lr rises along a cosine from a 25th over the first 30 % and falls
    to lr / 250,000, while the first momentum goes from 0.95 to 0.85 and back (Smith 2018,
    arXiv:1803.09820). `cosine` rises in a line over `warmup` and falls to zero. `average` is the
    decay of the running average of the weights that is used for every answer; 0 uses the last ones.

    `batch` is what one process reads at once. A step learns from batch x `accumulate` x processes records:
    its gradient is the mean of theirs, and `lr` belongs to so many. Batch norms, and losses that compare
    records, see `batch` of them.
    """

    epochs: float = 50
    batch: int = 128  # records at once, in each process
    accumulate: int = 1  # batches of each process in a step
    lr: float = 1e-3
    schedule: Literal["one_cycle", "cosine"] = "one_cycle"
    warmup: float = 0.05
    weight_decay: float = 0.01
    decay: Literal["all", "matrices"] = "all"  # matrices: spare biases and norms
    clip: float = 0.0  # largest norm of the gradient; 0: no limit
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    average: float = 0.0
    keep: Literal["last", "best-loss", "best-auroc"] = "last"
    validate: int = 0  # epochs between validations; 0: ten in all
    # probe: head `probe` or `neighbours` alone, exactly; probe-first: head `probe` so, then all by AdamW
    solver: Literal["adamw", "probe", "probe-first"] = "adamw"
    steps: int = 0  # in all; found from the epochs when the data are known

    def __post_init__(self) -> None:
        if self.epochs <= 0 or self.batch < 2 or self.lr <= 0 or not 0 <= self.average < 1:
            raise ValueError("[train] needs epochs and lr above 0, batch from 2, and 0 <= average < 1.")
        if self.accumulate < 1:
            raise ValueError(f"[train] accumulate is a whole number from 1, got {self.accumulate}.")
        if self.steps < 0:
            raise ValueError(
                f"[train] steps is a whole number from 0 (0: as the epochs say), got {self.steps}."
            )

    def share(self, step: int) -> float:
        """Return what every group's peak lr is multiplied with at a step."""
        if self.schedule == "one_cycle":
            return between(step, self.steps, 1 / 25, 1.0, 1 / 250_000)
        warm = max(1, round(self.warmup * self.steps))
        if step < warm:
            return (step + 1) / warm
        return (1 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm))) / 2

    def momentum(self, step: int) -> float:
        """Return AdamW's first beta at a step."""
        return between(step, self.steps, 0.95, 0.85, 0.95) if self.schedule == "one_cycle" else 0.9


def between(step: int, steps: int, first: float, top: float, last: float) -> float:
    """Go along cosines from `first` to `top` over 30 % of the steps, then to `last`."""
    rise = max(1.0, 0.3 * steps)
    a, b, way = (
        (first, top, step / rise) if step < rise else (top, last, (step - rise) / max(1.0, steps - rise))
    )
    return b + (a - b) * (1 + math.cos(math.pi * min(1.0, way))) / 2


def optimizer(
    method: Method, schedule: Schedule, rates: Mapping[str, float] | None = None
) -> torch.optim.Optimizer:
    """AdamW with a group per learning rate; `rates`: prefix of a parameter's name -> lr."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    kept = undecayed(method)
    for name, weight in method.named_parameters():
        if weight.requires_grad:
            mine = [prefix for prefix in rates or {} if not prefix or name.startswith(prefix + ".")]
            rate = (rates or {})[max(mine, key=len)] if mine else schedule.lr
            spared = weight in kept or (schedule.decay == "matrices" and weight.ndim < 2)
            groups.setdefault((rate, 0.0 if spared else schedule.weight_decay), []).append(weight)
    if not groups:
        raise ValueError("Every part of this recipe is frozen: nothing is left to learn.")
    return torch.optim.AdamW(
        [{"params": w, "lr": r, "peak": r, "weight_decay": d} for (r, d), w in groups.items()],
        betas=(0.9, 0.99 if schedule.schedule == "one_cycle" else 0.999),
        fused=True,  # one pass over each weight, in place of many
    )


def undecayed(method: Method) -> set[nn.Parameter]:
    """Return the weights that no decay may shrink, as their parts say by name: `undecayed = ("beta",)`."""
    return {getattr(part, name) for part in method.modules() for name in getattr(part, "undecayed", ())}


class Learner:
    """What changes besides the method: AdamW, fp16's scale and the average of the weights."""

    def __init__(self, method: Method, schedule: Schedule, rates: Mapping[str, float] | None = None):
        device = next(method.parameters()).device.type
        self.schedule = schedule
        self.adamw = optimizer(method, schedule, rates)
        self.scaler = torch.amp.GradScaler(device, enabled=schedule.precision == "fp16")
        self.average = Average(method, schedule.average)
        self.weights = [weight for group in self.adamw.param_groups for weight in group["params"]]

    def learn(self, loss: Tensor) -> None:
        """Add the gradient of one batch, of the several that make a step."""
        self.scaler.scale(loss / self.schedule.accumulate).backward()

    def step(self, step: int) -> None:
        """Go down the gradient of one step."""
        for group in self.adamw.param_groups:
            group["lr"] = group["peak"] * self.schedule.share(step)
            group["betas"] = (self.schedule.momentum(step), group["betas"][1])
        self.scaler.unscale_(self.adamw)
        if self.schedule.clip:
            nn.utils.clip_grad_norm_(self.weights, self.schedule.clip)
        self.scaler.step(self.adamw)
        self.scaler.update()
        self.average.update(step)


class Average:
    """A running average of all weights and statistics, faster at first; decay 0: the last ones."""

    def __init__(self, method: Method, decay: float):
        self.decay = decay
        self.live = {k: v for k, v in method.state_dict().items() if v.is_floating_point()}
        self.kept = {k: v.detach().clone() for k, v in self.live.items()} if decay else self.live

    @torch.no_grad()
    def restart(self) -> None:
        """Begin with the weights as they are now."""
        torch._foreach_copy_(list(self.kept.values()), list(self.live.values()))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step number `step`."""
        if self.decay:
            share = 1 - min(self.decay, (step + 1) / (step + 10))
            torch._foreach_lerp_(list(self.kept.values()), list(self.live.values()), share)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the average with the live weights; a second call undoes it."""
        for name, live in self.live.items() if self.decay else ():
            live_now = live.clone()
            live.copy_(self.kept[name])
            self.kept[name].copy_(live_now)


def frozen(method: nn.Module) -> list[nn.Module]:
    """List the modules none of whose weights learn: teachers, frozen backbones."""
    return [
        module
        for module in method.modules()
        if (weights := list(module.parameters())) and not any(w.requires_grad for w in weights)
    ]


def seed_of(seed: int, step: int, part: int = 0) -> int:
    """Mix the run's seed, the step and the part of it into one; the same on every machine."""
    mixed = seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + part * 0x94D049BB133111EB
    return (mixed + 1) % 2**63


def autocast(device: str, precision: str) -> AbstractContextManager[None]:
    """Compute in a precision; the weights stay in fp32."""
    return torch.autocast(device, PRECISIONS[precision], enabled=precision != "fp32")


def averaged(logs: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of each value that the parts of a step log."""
    return {name: torch.stack([part[name] for part in logs]).mean(0) for name in logs[0]}


def fit(
    method: Method,
    learner: Learner,
    batches: Iterable[Batch],
    *,
    seed: int = 0,
    start: int = 0,
    parts: Sequence[int] = (),
    prepare: Callable[[Batch], Batch] = lambda batch: batch,
    wrap: Callable[[Method], Callable[[Batch], dict[str, Tensor]]] = lambda method: method,
) -> Iterator[dict[str, Tensor]]:
    """Train `method` in place from step `start`, yielding what it logs, not yet copied from the device.

    A generator: the caller prints, evaluates, saves and stops. Every batch is seeded by itself, so
    what the caller does between two steps changes nothing, and a resumed run needs no random state.
    A step reads `accumulate` batches: by number, its `parts` (all, unless other processes learn the rest).
    """
    device, schedule = next(method.parameters()).device.type, learner.schedule
    learn, still, stream = wrap(method), frozen(method), iter(batches)
    mine = parts or range(schedule.accumulate)
    for step, first in zip(range(start, schedule.steps), stream, strict=False):
        logs = []
        method.train()
        for module in still:
            module.eval()
        learner.adamw.zero_grad()
        for part, batch in zip(mine, chain([first], stream), strict=False):
            torch.manual_seed(seed_of(seed, step, part))
            with autocast(device, schedule.precision):
                told = learn(prepare(batch))
            learner.learn(told["loss"])
            logs.append({name: value.detach() for name, value in told.items()})
        learner.step(step)
        method.after_step((step + 1) / schedule.steps)
        yield averaged(logs)
