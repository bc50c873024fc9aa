"""The one loop: schedules from their definition, seeded steps, frozen parts, averaged weights."""

import ast
import inspect
import math
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from einthoven import loop
from einthoven.checkpoint import load_resume, load_weights, read, save_resume, save_weights
from einthoven.ecg import Signal
from einthoven.loop import Average, Learner, Schedule, fit, optimizer
from einthoven.losses.margin import Margin
from einthoven.miners.n_pair import NPair
from einthoven.parts import call
from einthoven.types import Backbone, Batch, Method, Outputs, Tokens


class Plain(Backbone):
    """One linear layer over leads."""

    def __init__(self, wants: Signal):
        super().__init__()
        self.wants, self.dim = wants, 4
        self.layer = nn.Linear(12, 4)

    def forward(self, ecg: torch.Tensor, leads: torch.Tensor | None = None) -> Tokens:
        return Tokens(self.layer(self.admit(ecg, leads).transpose(1, 2)))


class Toy(Method):
    """Learns with dropout and batch norm, so that seeds and modes matter."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone: Backbone = Plain(Signal(seconds=0.1))
        self.norm, self.drop, self.out = nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1)

    def outputs(self, batch: Batch) -> Outputs:
        features = self.norm(self.backbone(batch.ecg).values.mean(1))
        return Outputs(features=features, logits=self.out(self.drop(features)))

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        assert batch.target is not None
        return {"loss": (self.outputs(batch)["logits"] - batch.target).square().mean()}


def toy() -> Toy:
    torch.manual_seed(0)
    return Toy()


def batch() -> Batch:
    chance = torch.Generator().manual_seed(1)
    ecg, rows = torch.randn(8, 12, 10, generator=chance), torch.arange(8)
    return Batch(ecg=ecg, row=rows, patient=rows, target=ecg[:, :1, 0])


def trained(steps: int, schedule: Schedule, disturb: bool = False) -> tuple[Toy, list[float]]:
    method = toy()
    losses = []
    for logs in fit(method, Learner(method, schedule), repeat(batch()), seed=5):
        losses.append(float(logs["loss"]))
        if disturb:
            torch.rand(7)
            method.eval()
        if len(losses) == steps:
            break
    return method, losses


def test_the_loop_has_no_branch() -> None:
    tree = ast.parse(inspect.getsource(fit))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.If | ast.IfExp)]


def test_one_cycle_as_in_the_benchmark() -> None:
    schedule, peak = Schedule(steps=1000, lr=1e-2), 1e-2
    assert schedule.share(0) * peak == pytest.approx(peak / 25)
    assert schedule.share(300) * peak == pytest.approx(peak)
    assert schedule.share(1000) * peak == pytest.approx(peak / 250_000)
    half = (peak / 25 + peak) / 2  # a cosine is half way at half time
    assert schedule.share(150) * peak == pytest.approx(half)
    assert [round(schedule.momentum(s), 3) for s in (0, 150, 300, 1000)] == [0.95, 0.9, 0.85, 0.95]
    torch_has = torch.optim.lr_scheduler.OneCycleLR(
        learner := torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1, momentum=0.9),
        peak, 1001, 0.3, div_factor=25, final_div_factor=10_000,
    )  # fmt: skip
    for step in range(0, 900):
        assert schedule.share(step) * peak == pytest.approx(learner.param_groups[0]["lr"], abs=4e-5)
        learner.step()
        torch_has.step()


def test_cosine_rises_and_falls() -> None:
    schedule = Schedule(steps=200, schedule="cosine", warmup=0.1)
    assert [schedule.share(s) for s in (0, 9, 19)] == pytest.approx([0.05, 0.5, 1.0])
    assert schedule.share(110) == pytest.approx(0.5)
    assert schedule.share(200) == pytest.approx(0, abs=1e-12)
    assert schedule.momentum(50) == 0.9


def test_what_happens_between_two_steps_changes_nothing() -> None:
    schedule = Schedule(steps=12, batch=8)
    calm, first = trained(12, schedule)
    busy, second = trained(12, schedule, disturb=True)
    assert first == second
    for a, b in zip(calm.state_dict().values(), busy.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_resumed_run_has_the_same_bits(tmp_path: Path, average: float) -> None:
    schedule = Schedule(steps=12, batch=8, average=average)
    whole, losses = toy(), []
    learner = Learner(whole, schedule)
    for done, logs in enumerate(fit(whole, learner, repeat(batch()), seed=5), 1):
        losses.append(float(logs["loss"]))
        if done == 7:
            save_resume(tmp_path, done, whole, learner, {"best": {}})
    again = toy()
    torch.manual_seed(99)
    second = Learner(again, schedule)
    told = load_resume(tmp_path, again, second)
    assert told == {"step": 7, "best": {}}
    rest = [float(x["loss"]) for x in fit(again, second, repeat(batch()), seed=5, start=told["step"])]
    assert rest == losses[7:]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    for name, value in learner.average.kept.items():
        assert torch.equal(value, second.average.kept[name])


def test_only_the_latest_whole_resume_point_is_kept(tmp_path: Path) -> None:
    method = toy()
    learner = Learner(method, Schedule(steps=3))
    for step in (1, 2):
        save_resume(tmp_path, step, method, learner, {})
    (tmp_path / "00000009").mkdir()  # killed before it was whole
    assert load_resume(tmp_path, method, learner)["step"] == 2
    assert [p.parent.name for p in tmp_path.glob("*/resume.json")] == ["00000002"]


def test_frozen_parts_stay_as_they_are() -> None:
    method = toy()
    method.norm.requires_grad_(False)
    before = {k: v.clone() for k, v in method.state_dict().items()}
    list(fit(method, Learner(method, Schedule(steps=5)), repeat(batch())))
    changed = {k for k, v in method.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"backbone.layer.weight", "backbone.layer.bias", "out.weight", "out.bias"}


def test_rates_belong_to_the_longest_prefix() -> None:
    groups = optimizer(
        toy(), Schedule(steps=1, lr=1.0), {"backbone": 0.1, "backbone.layer": 0.01}
    ).param_groups
    assert sorted(group["peak"] for group in groups) == [0.01, 1.0]
    spared = optimizer(toy(), Schedule(steps=1, decay="matrices")).param_groups
    assert sorted((g["weight_decay"], all(w.ndim < 2 for w in g["params"])) for g in spared) == [
        (0, True),
        (0.01, False),
    ]


def test_nothing_to_learn_is_refused() -> None:
    method = toy()
    method.requires_grad_(False)
    with pytest.raises(ValueError, match="nothing is left to learn"):
        optimizer(method, Schedule(steps=1))


def test_the_average_is_that_of_a_slow_loop() -> None:
    schedule, method = Schedule(steps=9, average=0.8), toy()
    learner = Learner(method, schedule)
    kept = method.out.weight.detach().clone().double()
    for step, _ in enumerate(fit(method, learner, repeat(batch()))):
        decay = min(0.8, (step + 1) / (step + 10))
        kept = decay * kept + (1 - decay) * method.out.weight.detach().double()
    torch.testing.assert_close(learner.average.kept["out.weight"].double(), kept, atol=1e-6, rtol=1e-5)
    live = method.out.weight.detach().clone()
    learner.average.swap()
    torch.testing.assert_close(method.out.weight.double(), kept, atol=1e-6, rtol=1e-5)
    learner.average.swap()
    assert torch.equal(method.out.weight, live)


def test_without_an_average_the_last_weights_answer() -> None:
    method = toy()
    average = Average(method, 0.0)
    list(fit(method, Learner(method, Schedule(steps=2)), repeat(batch())))
    before = method.out.weight.detach().clone()
    average.swap()
    assert torch.equal(method.out.weight, before)


def test_clipping_limits_the_gradient() -> None:
    free, tight = toy(), toy()
    for method, clip in ((free, 0.0), (tight, 1e-3)):
        list(fit(method, Learner(method, Schedule(steps=1, clip=clip)), repeat(batch())))
    norm = math.sqrt(sum(float(w.grad.square().sum()) for w in tight.parameters() if w.grad is not None))
    assert norm == pytest.approx(1e-3, rel=1e-3)
    assert sum(float(w.grad.square().sum()) for w in free.parameters() if w.grad is not None) > 1e-4


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_learns_with_weights_in_fp32(precision: str) -> None:
    method, losses = trained(150, Schedule(steps=150, lr=3e-2, precision=precision))
    assert np.mean(losses[-30:]) < 0.8 * np.mean(losses[:30])
    assert all(w.dtype == torch.float32 for w in method.parameters())


def test_seeds_differ_between_steps_and_runs() -> None:
    seeds = {loop.seed_of(seed, step) for seed in range(20) for step in range(500)}
    assert len(seeds) == 10_000 and min(seeds) >= 0 and max(seeds) < 2**63


@pytest.mark.parametrize(
    "wrong",
    [
        {"schedule": "linear"},
        {"precision": "int8"},
        {"keep": "first"},
        {"epochs": 0},
        {"average": 1.0},
        {"lr": "1"},
    ],
)
def test_schedules_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\[train\]"):
        call(Schedule, wrong, where="train")


def test_weights_know_their_signal(tmp_path: Path) -> None:
    method, file = toy(), tmp_path / "weights.safetensors"
    save_weights(method, file)
    assert read(file)[1] == method.backbone.wants
    other = toy()
    other.backbone.wants = Signal(seconds=0.1, scale="crop")
    with pytest.raises(ValueError, match="the recipe builds"):
        load_weights(other, file)
    file.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="holds no weights"):
        load_weights(method, file)
    with pytest.raises(ValueError, match="is not there"):
        load_weights(method, tmp_path / "no.safetensors")


def test_no_decay_shrinks_what_a_part_keeps_from_it() -> None:
    method = toy()
    method.margin = Margin(labels=2, miner=NPair())
    groups = optimizer(method, Schedule(steps=1, weight_decay=0.5)).param_groups
    kept = [weight for group in groups if not group["weight_decay"] for weight in group["params"]]
    assert len(kept) == 1 and kept[0] is method.margin.beta
