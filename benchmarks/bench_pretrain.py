"""Steps of the pre-trainings: attention along a grid against a dense mask, bf16 against fp32, memory.

python benchmarks/bench_pretrain.py

Preset tiny, on noise in the published form of input: ECG-JEPA reads 8 leads of 10 s at 250 Hz in patches of
0.2 s (400 tokens, heads of 48 as published, batch 16), ST-MEM 12 leads of 9 s in patches of 0.3 s. Two
threads where none is said; every row in a process of its own, and the rows of one method take turns step by
step: medians. The dense form is the published one, a softmax over all tokens under a mask; plain: under
torch's default settings; ours: with freed memory kept and threads that hardly spin, as the command line sets
it. Compare ratios only. The memory is the peak of the process; the first row is torch alone.
"""

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

ROUNDS = 25
OURS = {"GOMP_SPINCOUNT": "10000"}  # as the command line does
EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
JEPA = {"size": [192, 6, 4], "patch": 0.2, "code": "fixed", "attention": "cross_pattern", "drop": 0.1}
RANDOM, BLOCK = ((JEPA, {"name": "ecg_jepa", "mask": mask}) for mask in ("random", "block"))
SEP = ({"patch": 0.3, "special": "sep"}, {"name": "st_mem"})
ROWS = {  # name: (backbone and method, seconds, leads, batch, precision, dense)
    "torch alone": None,
    "ecg_jepa, random, fp32, dense, plain": (RANDOM, 10, EIGHT, 16, "fp32", True),
    "ecg_jepa, random, fp32, dense, ours": (RANDOM, 10, EIGHT, 16, "fp32", True),
    "ecg_jepa, random, fp32, grid, ours": (RANDOM, 10, EIGHT, 16, "fp32", False),
    "ecg_jepa, block, fp32, dense, plain": (BLOCK, 10, EIGHT, 16, "fp32", True),
    "ecg_jepa, block, fp32, dense, ours": (BLOCK, 10, EIGHT, 16, "fp32", True),
    "ecg_jepa, block, fp32, grid, ours": (BLOCK, 10, EIGHT, 16, "fp32", False),
    "ecg_jepa, block, bf16, grid, ours": (BLOCK, 10, EIGHT, 16, "bf16", False),
    "st_mem, batch 16, fp32, ours": (SEP, 9, None, 16, "fp32", False),
    "st_mem, batch 16, bf16, ours": (SEP, 9, None, 16, "bf16", False),
    "st_mem, batch 16, fp32, ours, one thread": (SEP, 9, None, 16, "fp32", False),
    "st_mem, batch 16, bf16, ours, one thread": (SEP, 9, None, 16, "bf16", False),
    "st_mem, batch 64, fp32, ours": (SEP, 9, None, 64, "fp32", False),
    "st_mem, batch 64, bf16, ours": (SEP, 9, None, 64, "bf16", False),
}
GRIDS = [name for name in ROWS if "grid" in name and "fp32" in name]
RATIOS = [(name, name.replace("grid, ours", f"dense, {how}")) for name in GRIDS for how in ("plain", "ours")]
RATIOS += [(name, name.replace("bf16", "fp32")) for name in ROWS if "bf16" in name]
KINDS = ("torch alone", "ecg_jepa, random", "ecg_jepa, block", "st_mem, batch 16", "st_mem, batch 64")
GROUPS = [[name for name in ROWS if name.startswith(kind)] for kind in KINDS]


def dense(q, k, v, see):
    """Attention under a mask, as it stands in textbooks."""
    match = (q @ k.transpose(2, 3)) * q.shape[-1] ** -0.5
    match = match if see is None else match.masked_fill(~see, -float("inf"))
    return match.softmax(-1) @ v


def threads_of(name: str) -> int:
    """Return how many threads a row has; one stays on the first core, for cores are not all alike."""
    if "one thread" not in name:
        return 2
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    return 1


def served(name: str) -> None:
    """Answer each line of stdin with the seconds of a step, and the peak megabytes so far."""
    import torch

    from einthoven import parts
    from einthoven.backbones.vit import ViT
    from einthoven.ecg import LEADS, Signal
    from einthoven.layers import attention
    from einthoven.layers.attention import Sight, crossed
    from einthoven.loop import Learner, Schedule, autocast
    from einthoven.memory import keep_freed_memory
    from einthoven.types import Batch

    torch.set_num_threads(threads_of(name))
    torch.manual_seed(0)

    def step() -> None:
        """Of torch alone."""

    if ROWS[name]:
        (backbone, method), seconds, leads, size, precision, plain = ROWS[name]
        if "ours" in name:
            keep_freed_memory()
        wants = Signal(leads=leads or LEADS, hertz=250, seconds=seconds, scale="crop")
        network = parts.build("backbones", {"name": "vit", "size": "tiny"} | backbone, wants=wants)
        if plain:
            attention.attend = dense
            ViT.sight = lambda self, patches, real: Sight(real, mask=crossed(patches.lead, patches.time))
        learns = parts.build("methods", method, backbone=network).train()
        learns.teacher.eval() if hasattr(learns, "teacher") else None
        learner = Learner(learns, Schedule(steps=1000, batch=size, precision=precision))
        rows = torch.arange(size)
        batch = Batch(ecg=torch.randn(size, len(wants.leads), wants.samples), row=rows, patient=rows)

        def step() -> None:
            with autocast("cpu", precision):
                loss = learns(batch)["loss"]
            learner.learn(loss)
            learner.step(0)
            learns.after_step(0.5)

    step()
    for number, _ in enumerate(sys.stdin):
        torch.manual_seed(number)  # the same masks in every row
        began = time.perf_counter()
        step()
        told = time.perf_counter() - began
        print(told, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)


def measured(names: Sequence[str]) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return the seconds of the steps of some rows that take turns, and the megabytes of each at its peak."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = {
        name: subprocess.Popen(
            [sys.executable, __file__, name], env=os.environ | (OURS if "ours" in name else {}), **pipes
        )
        for name in names
    }
    seconds, memory = {name: [] for name in names}, {}
    for turn in range(1 + ROUNDS):
        for name, process in running.items():
            process.stdin.write("go\n")
            process.stdin.flush()
            took, held = process.stdout.readline().split()
            seconds[name] += [float(took)] if turn else []  # the first turn warms up
            memory[name] = float(held)
    for process in running.values():
        process.stdin.close()
        process.wait()
    return seconds, memory


def main() -> None:
    """Measure group by group, print a table of each and its ratios."""
    for names in GROUPS:
        seconds, memory = measured(names)
        print(f"{'a step':41} {'ms':>8} {'records/s':>10} {'peak MB':>8}")
        for name in names:
            took = statistics.median(seconds[name])
            rate = f"{ROWS[name][3] / took:.1f}" if ROWS[name] else ""
            print(f"{name:41} {1000 * took:8.0f} {rate:>10} {memory[name]:8.0f}")
        for one, other in RATIOS:
            if one in names:
                each = [a / b for a, b in zip(seconds[one], seconds[other], strict=True)]
                low, _, high = statistics.quantiles(each, n=4)
                told = f"{statistics.median(each):.2f} (half of the turns: {low:.2f} to {high:.2f})"
                print(f"{one} / {other}: {told}", flush=True)


if __name__ == "__main__":
    served(sys.argv[1]) if len(sys.argv) > 1 else main()
