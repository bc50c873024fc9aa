"""Steps of the pre-trainings: attention along a grid against a dense mask, bf16 against fp32, memory.

python benchmarks/bench_pretrain.py

Preset tiny, batch 16, on noise in the published form of input: ECG-JEPA reads 8 leads of 10 s at 250 Hz in
patches of 0.2 s (400 tokens; heads of 48, as published), ST-MEM 12 leads of 9 s in patches of 0.3 s. Two
threads; every row in a process of its own, turn by turn; medians of the seconds of a step. The dense form is
the published one: a softmax over all tokens under a mask. Compare ratios only. The memory is the peak of the
process; the first row is torch alone.
"""

import os
import resource
import statistics
import subprocess
import sys
import time

BATCH, ROUNDS, STEPS = 16, 7, 2
EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
JEPA = (
    {"size": [192, 6, 4], "patch": 0.2, "code": "fixed", "attention": "cross_pattern", "drop": 0.1},
    {"name": "ecg_jepa"},
)
SEP = ({"patch": 0.3, "special": "sep"}, {"name": "st_mem"})
ROWS = {  # name: (backbone and method, seconds, leads, precision, dense)
    "torch alone": None,
    "ecg_jepa, dense mask, fp32": (JEPA, 10, EIGHT, "fp32", True),
    "ecg_jepa, grid, fp32": (JEPA, 10, EIGHT, "fp32", False),
    "ecg_jepa, dense mask, bf16": (JEPA, 10, EIGHT, "bf16", True),
    "ecg_jepa, grid, bf16": (JEPA, 10, EIGHT, "bf16", False),
    "st_mem, fp32": (SEP, 9, None, "fp32", False),
    "st_mem, bf16": (SEP, 9, None, "bf16", False),
}
RATIOS = (
    ("ecg_jepa, grid, fp32", "ecg_jepa, dense mask, fp32"),
    ("ecg_jepa, grid, bf16", "ecg_jepa, dense mask, bf16"),
    ("st_mem, bf16", "st_mem, fp32"),
)


def served(name: str) -> None:
    """Answer each line of stdin with the seconds of a step."""
    import torch

    from einthoven import parts
    from einthoven.backbones.vit import ViT
    from einthoven.ecg import LEADS, Signal
    from einthoven.layers.attention import Sight, crossed
    from einthoven.loop import Learner, Schedule, autocast
    from einthoven.memory import keep_freed_memory
    from einthoven.types import Batch

    torch.set_num_threads(2)
    torch.manual_seed(0)
    step = lambda: None  # noqa: E731
    if ROWS[name]:
        (backbone, method), seconds, leads, precision, dense = ROWS[name]
        keep_freed_memory()
        wants = Signal(leads=leads or LEADS, hertz=250, seconds=seconds, scale="crop")
        network = parts.build("backbones", {"name": "vit", "size": "tiny"} | backbone, wants=wants)
        if dense:
            ViT.sight = lambda self, patches, real: Sight(real, mask=crossed(patches.lead, patches.time))
        learns = parts.build("methods", method, backbone=network).train()
        learns.teacher.eval() if hasattr(learns, "teacher") else None
        learner = Learner(learns, Schedule(steps=1000, batch=BATCH, precision=precision))
        rows = torch.arange(BATCH)
        batch = Batch(ecg=torch.randn(BATCH, len(wants.leads), wants.samples), row=rows, patient=rows)

        def step() -> None:
            with autocast("cpu", precision):
                loss = learns(batch)["loss"]
            learner.learn(loss)
            learner.step(0)
            learns.after_step(0.5)

    step()
    for _ in sys.stdin:
        torch.manual_seed(1)  # the same masks in every row
        began = time.perf_counter()
        for _ in range(STEPS):
            step()
        told = (time.perf_counter() - began) / STEPS
        print(told, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)


def main() -> None:
    """Take turns, print the table."""
    environment = os.environ | {"GOMP_SPINCOUNT": "10000", "OMP_NUM_THREADS": "2"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    seconds, memory = {name: [] for name in ROWS}, {}
    running = {name: subprocess.Popen([sys.executable, __file__, name], **pipes) for name in ROWS}
    for _ in range(ROUNDS):
        for name, process in running.items():
            process.stdin.write("go\n")
            process.stdin.flush()
            took, held = process.stdout.readline().split()
            seconds[name].append(float(took))
            memory[name] = float(held)
    for process in running.values():
        process.stdin.close()
        process.wait()
    print(f"{'step of ' + str(BATCH) + ' ECGs':30} {'ms':>8} {'records/s':>10} {'peak MB':>8}")
    for name in ROWS:
        took = statistics.median(seconds[name])
        rate = f"{BATCH / took:.1f}" if ROWS[name] else ""
        print(f"{name:30} {1000 * took:8.0f} {rate:>10} {memory[name]:8.0f}")
    for one, other in RATIOS:
        each = [a / b for a, b in zip(seconds[one], seconds[other], strict=True)]
        print(f"{one} / {other}: {statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})")


if __name__ == "__main__":
    served(sys.argv[1]) if len(sys.argv) > 1 else main()
