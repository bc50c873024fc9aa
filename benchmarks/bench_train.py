"""Training speed: our loop in fp32 and bf16, with and without decoupling, against plain 1-d torch layers.

python benchmarks/bench_train.py [DATA] [--only NAME]

Batch 128 of 12 x 250, 71 labels, two threads. The plain network runs in a process of its own under default
settings, turn by turn with ours. With DATA (a store, or a folder in PTB-XL's layout), also the share of time
in which training waits for data. Compare ratios only.
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory

BATCH, LABELS, ROUNDS, STEPS = 128, 71, 7, 2
NETWORKS = ("resnet1d_wang", "xresnet1d101", "fcn_wang", "inception1d", "lstm", "lstm_bidir", "s4d")
RECIPES = Path(__file__).parent.parent / "recipes/ptbxl"
OURS = {"GOMP_SPINCOUNT": "10000"}  # as the command line does
KINDS = {  # what runs: (process, precision, head)
    "plain fp32": ("plain", "fp32", "linear"),
    "ours fp32": ("ours", "fp32", "linear"),
    "ours bf16": ("ours", "bf16", "linear"),
    "ours fp32, decoupled + triplet": ("ours", "fp32", "decoupled"),
    "ours bf16, decoupled + triplet": ("ours", "bf16", "decoupled"),
}


def flat(layer):
    """The same layer over (batch, width, time)."""
    from torch import nn

    def last(size):
        return size[1] if isinstance(size, tuple) else size

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


def batch():
    import torch

    from einthoven.types import Batch

    torch.manual_seed(0)
    rows = torch.arange(BATCH)
    # As rare as the 71 statements of PTB-XL: a quarter of them is absent from a batch.
    target = (torch.rand(BATCH, LABELS) < torch.logspace(-3.5, -0.4, LABELS)).float()
    return Batch(ecg=torch.randn(BATCH, 12, 250), row=rows, patient=rows, target=target)


def method_of(name: str, head: str):
    """The recipe's network."""
    from einthoven import recipe
    from einthoven.assemble import network
    from einthoven.ecg import Signal

    made = recipe.load(RECIPES / f"{name}.toml", [f"head.name={head}"])
    return network(made, Signal(seconds=2.5), LABELS, 0)[0]


def plain_steps(name: str) -> Iterator[None]:
    """Endless steps of a plain loop over the same network with 1-d layers."""
    import torch

    method, data = method_of(name, "linear"), batch()
    module = sys.modules[type(method.backbone).__module__]
    module.image, module.steps = (lambda x: x), (lambda x: x.transpose(1, 2))
    method.backbone = flat(method.backbone)
    learner = torch.optim.AdamW(method.parameters(), 1e-3)
    while True:
        logits = method.outputs(data)["logits"]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, data.target)
        learner.zero_grad()
        loss.backward()
        learner.step()
        yield


def our_steps(name: str, precision: str, head: str) -> Iterator[None]:
    """Endless steps of our loop."""
    from einthoven.loop import Learner, Schedule, fit

    method = method_of(name, head)
    yield from fit(method, Learner(method, Schedule(steps=10**6, precision=precision)), repeat(batch()))


def work(side: str, name: str) -> None:
    """Be one process: for each line that names a kind, do some steps and say how long one took."""
    import torch

    from einthoven.memory import keep_freed_memory

    torch.set_num_threads(2)
    if side == "ours":
        keep_freed_memory()
    running: dict[str, Iterator[object]] = {}
    for line in sys.stdin:
        kind = line.strip()
        if kind not in running:
            _, precision, head = KINDS[kind]
            running[kind] = plain_steps(name) if side == "plain" else our_steps(name, precision, head)
            next(running[kind])
        before = time.perf_counter()
        for _ in range(STEPS):
            next(running[kind])
        print((time.perf_counter() - before) / STEPS, flush=True)


def measure(name: str) -> dict[str, float]:
    """Return the median seconds per step of every kind; the processes take turns."""
    sides = {}
    for side in ("plain", "ours"):
        command = [sys.executable, __file__, "--work", side, "--only", name]
        environment = os.environ | (OURS if side == "ours" else {})
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        sides[side] = subprocess.Popen(command, env=environment, **pipes)
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for turn in range(ROUNDS + 1):
        for kind, (side, *_) in KINDS.items():
            sides[side].stdin.write(kind + "\n")
            sides[side].stdin.flush()
            took = float(sides[side].stdout.readline())
            seconds[kind] += [took] if turn else []  # the first turn warms up
    for process in sides.values():
        process.stdin.close()
        process.wait()
    return {kind: statistics.median(values) for kind, values in seconds.items()}


def waiting(data: Path) -> None:
    """Train for two epochs, and tell the share of time that was spent waiting for data in the second."""
    os.environ.update(OURS)
    from einthoven import python, recipe
    from einthoven.run import train

    made = recipe.load(RECIPES / "xresnet1d101.toml")
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
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    asked.add_argument("data", type=Path, nargs="?", help="a store, or a folder in PTB-XL's layout")
    asked.add_argument("--only", choices=NETWORKS, help="one network")
    asked.add_argument("--work", choices=("plain", "ours"), help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.work:
        return work(given.work, given.only)
    for name in [given.only] if given.only else NETWORKS:
        middle = measure(name)
        for kind, value in middle.items():
            told = f"{BATCH / value:5.0f} records/s, {middle['plain fp32'] / value:.2f} x plain torch in fp32"
            if "decoupled" in kind:
                base = middle[kind.partition(",")[0]]
                told += f"; a step takes {value / base:.2f} x that of the linear head"
            print(f"{name} {kind}: {told}", flush=True)
    if given.data:
        waiting(given.data)
    return None


if __name__ == "__main__":
    main()
