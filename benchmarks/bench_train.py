"""Training speed: our modules in fp32 and bf16 against the same network in plain 1-d torch layers.

python benchmarks/bench_train.py [DATA]     batch 128 of 12 x 250, 71 labels, two threads, interleaved; with
DATA (a store, or a folder in PTB-XL's layout), also the share of time in which training waits for data.
One line per figure; compare ratios only.
"""

import csv
import os
import statistics
import sys
import time
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the command line does

import torch
from torch import Tensor, nn

from einthoven import parts, python, recipe
from einthoven.ecg import Signal
from einthoven.layers.several import Heads, Losses
from einthoven.loop import Learner, Schedule, fit
from einthoven.memory import keep_freed_memory
from einthoven.methods.direct import Direct
from einthoven.run import train
from einthoven.types import Batch

BATCH, LABELS, ROUNDS, STEPS = 128, 71, 5, 3


def last(size: int | tuple[int, int]) -> int:
    """The size along time."""
    return size[1] if isinstance(size, tuple) else size


def flat(layer: nn.Module) -> nn.Module:
    """The same layer over (batch, width, time)."""
    match layer:
        case nn.Conv2d():
            sizes = (last(layer.kernel_size), last(layer.stride), last(layer.padding))
            return nn.Conv1d(layer.in_channels, layer.out_channels, *sizes, bias=False)
        case nn.BatchNorm2d():
            return nn.BatchNorm1d(layer.num_features)
        case nn.MaxPool2d():
            return nn.MaxPool1d(last(layer.kernel_size), last(layer.stride), last(layer.padding))
        case nn.AvgPool2d():
            return nn.AvgPool1d(last(layer.kernel_size), ceil_mode=layer.ceil_mode)
    for name, child in layer.named_children():
        setattr(layer, name, flat(child))
    return layer


class Plain(nn.Module):
    """A backbone of ours with its layers made 1-d, and the same head."""

    def __init__(self, name: str):
        super().__init__()
        self.backbone = flat(parts.build("backbones", {"name": name}, wants=Signal(seconds=2.5)))
        self.head = parts.build("heads", {"name": "linear"}, dim=self.backbone.dim, labels=LABELS)

    def forward(self, ecg: Tensor) -> Tensor:
        body = getattr(self.backbone, "body", None) or nn.Sequential(self.backbone.stem, self.backbone.blocks)
        tokens = body(ecg)
        return self.head.layers(torch.cat([tokens.amax(2), tokens.mean(2)], 1))


def batch() -> Batch:
    rows = torch.arange(BATCH)
    target = (torch.rand(BATCH, LABELS) < 0.05).float()
    return Batch(ecg=torch.randn(BATCH, 12, 250), row=rows, patient=rows, target=target)


def plain_steps(name: str):
    """Endless steps of a plain loop."""
    network, data = Plain(name), batch()
    learner = torch.optim.AdamW(network.parameters(), 1e-3)
    while True:
        loss = nn.functional.binary_cross_entropy_with_logits(network(data.ecg), data.target)
        learner.zero_grad()
        loss.backward()
        learner.step()
        yield


def our_steps(name: str, precision: str):
    """Endless steps of our loop."""
    backbone = parts.build("backbones", {"name": name}, wants=Signal(seconds=2.5))
    head = parts.build("heads", {"name": "linear"}, backbone=backbone, labels=LABELS)
    losses = Losses({"bce": parts.build("losses", {"name": "bce"})}, {"bce": 1.0})
    method = Direct(backbone, Heads([head]), losses)
    yield from fit(method, Learner(method, Schedule(steps=10**6, precision=precision)), repeat(batch()))


def waiting(data: Path) -> None:
    """Train for two epochs, and tell the share of time that was spent waiting for data in the second."""
    made = recipe.load(Path(__file__).parent.parent / "recipes/ptbxl/superdiag.toml")
    with TemporaryDirectory() as folder:
        home, store = Path(folder), data
        if not (data / "store.json").exists():
            store = python.import_("ptbxl", data, home / "store", workers=2).path
        for precision in ("fp32", "bf16"):
            made["train"] |= {"epochs": 2, "precision": precision}
            made["evaluate"] = {"resamples": 1, "rows": []}
            run = train(made, store, home / precision)
            line = list(csv.DictReader((run / "log.csv").open()))[-1]
            told = f"{float(line['records_per_second']):.0f} records/s, {100 * float(line['waiting']):.2f} %"
            print(f"xresnet1d101 on {data} in {precision}: {told} waiting", flush=True)


def main() -> None:
    torch.set_num_threads(2)
    keep_freed_memory()
    for name in ("xresnet1d101", "resnet1d_wang"):
        kinds = {"plain fp32": plain_steps(name)}
        kinds |= {f"ours {precision}": our_steps(name, precision) for precision in ("fp32", "bf16")}
        seconds = {kind: [] for kind in kinds}
        for steps in kinds.values():
            next(steps)
        for _ in range(ROUNDS):
            for kind, steps in kinds.items():
                before = time.perf_counter()
                for _ in range(STEPS):
                    next(steps)
                seconds[kind].append((time.perf_counter() - before) / STEPS)
        middle = {kind: statistics.median(values) for kind, values in seconds.items()}
        for kind, value in middle.items():
            ratio = middle["plain fp32"] / value
            print(
                f"{name} {kind}: {BATCH / value:.0f} records/s, {ratio:.2f} x plain torch in fp32", flush=True
            )
    if len(sys.argv) > 1:
        waiting(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
