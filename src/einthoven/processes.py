"""Several processes that learn one model together: each from its part of every batch."""

import gc
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from itertools import count, cycle

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from einthoven.types import Batch, Method

# How long one waits for the others, for a validation of the first one, too. If one dies, all end at once.
PATIENCE = timedelta(minutes=30)
TRAININGS = count()  # that this process has joined


@dataclass(frozen=True)
class Processes:
    """How many processes learn together, and which of them this is; the first one writes and tells."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Say whether this is the one that writes and tells."""
        return self.rank == 0

    def parts(self, accumulate: int) -> range:
        """Number the parts of a step that this process learns from, in the order in which it does."""
        return range(self.rank, accumulate * self.count, self.count)

    def wrap(self, method: Method, accumulate: int) -> Callable[[Batch], dict[str, Tensor]]:
        """Learn as `method` does; of every `accumulate` batches the last makes all gradients their mean."""
        if self.count == 1:
            return method
        several = DistributedDataParallel(Learned(method), find_unused_parameters=True)
        sharing = cycle([several.no_sync] * (accumulate - 1) + [nullcontext])

        def learn(batch: Batch) -> dict[str, Tensor]:
            with next(sharing)():
                logs: dict[str, Tensor] = several(batch)
            return logs

        return learn

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return each value's mean over the processes."""
        sums = self.reduced(list(values.values()), dist.ReduceOp.SUM)
        return {name: value / self.count for name, value in zip(values, sums, strict=True)}

    def any(self, here: bool) -> bool:
        """Say whether something holds in any process."""
        return self.reduced([here], dist.ReduceOp.MAX) == [1.0]

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """End this block together: if a process complains in it, that one is heard and the others leave."""
        mistake: ValueError | None = None
        try:
            yield
        except ValueError as told:
            mistake = told
        (speaker,) = self.reduced([self.rank if mistake else self.count], dist.ReduceOp.MIN)
        if mistake and speaker == self.rank:
            raise mistake
        if speaker < self.count:
            raise SystemExit(2)

    def reduced(self, values: Sequence[float], how: dist.ReduceOp.RedOpType) -> list[float]:
        """Reduce numbers over the processes."""
        held = torch.tensor(values, dtype=torch.float64)
        if self.count > 1:
            dist.all_reduce(held, how)
        numbers: list[float] = held.tolist()
        return numbers


ALONE = Processes()


class Learned(nn.Module):
    """A method as DistributedDataParallel wants one: only the loss has a gradient.

    Weights that the loss does not reach, always or in some steps, must be found in each. To search for them
    also keeps the order in which gradients are added the same from the first step on, so that a resumed run
    has the bits of one that never stopped. Torch complains of a search that finds nothing: hence `unreached`.
    """

    def __init__(self, method: Method):
        super().__init__()
        self.method, self.unreached = method, nn.Parameter(next(method.parameters()).new_zeros(1))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Learn."""
        logs: dict[str, Tensor] = self.method(batch)
        return {name: value.detach() for name, value in logs.items()} | {"loss": logs["loss"]}


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun has started, if it has, for as long as the block lasts."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    if next(TRAININGS):
        raise ValueError("The other processes have left after their training: start torchrun again for this.")
    gpus = device == "cuda" and torch.cuda.is_available()
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=PATIENCE)
    try:
        processes = Processes(dist.get_rank(), dist.get_world_size())
        with processes.agreed():
            take(device)
        yield processes
    finally:
        gc.collect()  # torch's wrapper, before its threads: at the interpreter's end it may abort the process
        dist.destroy_process_group()


def take(device: str) -> None:
    """Take the GPU of this process among those of its machine, or refuse a device that cannot be."""
    if device not in ("cpu", "cuda"):
        raise ValueError(
            f"Several processes learn on cpu, or on cuda with a GPU each: --device {device} cannot be."
        )
    if device == "cuda":
        gpus, mine = torch.cuda.device_count(), int(os.environ.get("LOCAL_RANK", "0"))
        if mine >= gpus:
            raise ValueError(
                f"Each process needs a GPU of its own, and this machine has {gpus}: "
                "start fewer (--nproc-per-node), or say --device cpu."
            )
        torch.cuda.set_device(mine)
