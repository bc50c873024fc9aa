"""A step of several batches: gradients from a slow loop, seeds, and the rows that each part reads."""

from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import pytest
import torch
from torch import nn

from cohorts import store_of
from einthoven.checkpoint import load_resume, save_resume
from einthoven.data.loader import Loader, Reader
from einthoven.data.store import Store
from einthoven.ecg import Signal
from einthoven.loop import Learner, Schedule, fit, seed_of
from einthoven.parts import call
from einthoven.processes import Processes
from einthoven.samplers.balanced import Balanced
from einthoven.samplers.patients import Patients
from einthoven.samplers.shuffled import Shuffled
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
    """Two layers, and in between what the test asks for."""

    def __init__(self, between: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone: Backbone = Plain(Signal(seconds=0.1))
        self.between, self.out = between or nn.Tanh(), nn.Linear(4, 1)

    def outputs(self, batch: Batch) -> Outputs:
        features = self.between(self.backbone(batch.ecg).values.mean(1))
        return Outputs(features=features, logits=self.out(features))

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        assert batch.target is not None
        return {"loss": (self.outputs(batch)["logits"] - batch.target).square().mean()}


def rows(number: int, size: int = 12) -> Batch:
    """Return all rows that step `number` learns from."""
    chance = torch.Generator().manual_seed(number)
    ecg, names = torch.randn(size, 12, 10, generator=chance), torch.arange(size)
    return Batch(ecg=ecg, row=names, patient=names, target=ecg[:, :1, 0])


def in_parts(parts: int, start: int = 0) -> Iterator[Batch]:
    """Yield the rows of each step in so many batches."""
    for number in count(start):
        whole = rows(number)
        for index in torch.arange(len(whole.row)).chunk(parts):
            yield whole.take(index)


def learned(method: Method, schedule: Schedule) -> list[float]:
    logs = fit(method, Learner(method, schedule), in_parts(schedule.accumulate), seed=3)
    return [float(each["loss"]) for each in logs]


@pytest.mark.parametrize("parts", [2, 3, 6])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_batches_in_turn_are_one_large_batch_gradient_by_gradient(parts: int, precision: str) -> None:
    whole, several = Toy(), Toy()
    once = learned(whole, Schedule(steps=1, precision=precision))
    turns = learned(several, Schedule(steps=1, precision=precision, accumulate=parts))
    rough = 1e-6 if precision == "fp32" else 2e-3
    assert turns == pytest.approx(once, rel=max(1e-6, rough))
    for one, other in zip(whole.parameters(), several.parameters(), strict=True):
        assert one.grad is not None and other.grad is not None and one.grad.abs().max() > 1e-3
        torch.testing.assert_close(one.grad, other.grad, atol=rough, rtol=10 * rough)


def test_the_gradient_is_that_of_a_slow_loop() -> None:
    """Row by row in double precision: one step of AdamW after the mean over all rows, three times."""
    schedule = Schedule(steps=3, accumulate=4, lr=0.1, clip=0.05, weight_decay=0.2)
    fast, slow = Toy(), Toy().double()
    losses = learned(fast, schedule)
    weights = list(slow.parameters())
    first, second = ([torch.zeros_like(w) for w in weights] for _ in range(2))
    for step, told in enumerate(losses):
        sums, total, whole = [torch.zeros_like(w) for w in weights], 0.0, rows(step)
        for i in range(12):
            ecg, target = whole.ecg[i : i + 1].double(), whole.target[i, 0].double()
            tokens = ecg[0].T @ slow.backbone.layer.weight.T + slow.backbone.layer.bias
            loss = (slow.out(tokens.mean(0).tanh())[0] - target) ** 2
            total += float(loss.detach()) / 12
            for held, new in zip(sums, torch.autograd.grad(loss, weights), strict=True):
                held += new / 12
        assert told == pytest.approx(total, rel=1e-5)
        norm = sum(float(held.square().sum()) for held in sums) ** 0.5
        rate, beta = 0.1 * schedule.share(step), schedule.momentum(step)
        with torch.no_grad():
            for w, g, m, v in zip(weights, sums, first, second, strict=True):
                g *= min(1.0, 0.05 / (norm + 1e-6))
                w *= 1 - rate * 0.2
                m.lerp_(g, 1 - beta)
                v.lerp_(g * g, 0.01)
                bias = 1 - beta ** (step + 1)
                w -= rate * (m / bias) / ((v / (1 - 0.99 ** (step + 1))).sqrt() + 1e-8)
    for one, other in zip(fast.parameters(), weights, strict=True):
        torch.testing.assert_close(one.double(), other, atol=2e-5, rtol=1e-4)


def test_batch_norms_see_each_batch() -> None:
    method = Toy(nn.BatchNorm1d(4, momentum=0.5))
    before = Toy(nn.BatchNorm1d(4))
    learned(method, Schedule(steps=1, accumulate=3))
    mean = torch.zeros(4)
    for part in islice(in_parts(3), 3):
        mean = 0.5 * mean + 0.5 * before.backbone(part.ecg).values.mean((0, 1)).detach()
    torch.testing.assert_close(method.between.running_mean, mean)
    assert int(method.between.num_batches_tracked) == 3


def test_a_run_resumed_between_two_steps_has_the_same_bits(tmp_path: Path) -> None:
    schedule = Schedule(steps=9, accumulate=3, average=0.5)
    whole = Toy(nn.Dropout(0.5))
    learner, losses = Learner(whole, schedule), []
    for done, logs in enumerate(fit(whole, learner, in_parts(3), seed=3), 1):
        losses.append(float(logs["loss"]))
        if done == 4:
            save_resume(tmp_path, done, whole, learner, {})
    again = Toy(nn.Dropout(0.5))
    second = Learner(again, schedule)
    start = load_resume(tmp_path, again, second)["step"]
    rest = [float(x["loss"]) for x in fit(again, second, in_parts(3, start), seed=3, start=start)]
    assert rest == losses[4:] and len(losses) == 9
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_every_part_of_every_step_has_its_own_seed() -> None:
    assert len({seed_of(s, n, part) for s in range(5) for n in range(100) for part in range(20)}) == 10_000
    seen: list[float] = []

    def prepare(batch: Batch) -> Batch:
        seen.append(float(torch.rand(())))
        return batch

    for parts in (range(0, 4), range(1, 4, 2)):  # one process; the second of two
        method, schedule = Toy(), Schedule(steps=2, accumulate=len(parts))
        list(fit(method, Learner(method, schedule), in_parts(4), seed=3, parts=parts, prepare=prepare))
    expected = []
    for step, part in [(s, p) for parts in (range(0, 4), (1, 3)) for s in range(2) for p in parts]:
        torch.manual_seed(seed_of(3, step, part))
        expected.append(float(torch.rand(())))
    assert seen == expected
    torch.manual_seed((3 * 0x9E3779B97F4A7C15 + 5 * 0xBF58476D1CE4E5B9 + 1) % 2**63)
    alone = float(torch.rand(()))
    torch.manual_seed(seed_of(3, 5))
    assert float(torch.rand(())) == alone  # as it always was


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = [{"y": i % 2, "patient": i // 3} for i in range(60)]
    return store_of(tmp_path_factory.mktemp("accumulate") / "store", made, seconds=2)


@pytest.mark.parametrize("sampler", ["shuffled", "balanced", "patients"])
@pytest.mark.parametrize(("processes", "accumulate"), [(1, 4), (2, 2), (4, 1), (2, 1)])
def test_parts_are_the_rows_and_places_of_one_large_batch(
    store: Store, sampler: str, processes: int, accumulate: int
) -> None:
    every, wants = torch.arange(60), Signal(seconds=1.0)
    made = {
        "shuffled": lambda: Shuffled(every, 24, 0),
        "balanced": lambda: Balanced(every, every[:, None].float() % 2, 24, 0),
        "patients": lambda: Patients(every, every // 3, 24, 0, records=3),
    }[sampler]()
    reader, parts = Reader(store, wants), processes * accumulate
    whole = Loader(reader, made, 0, wants.samples)
    places = [Processes(rank, processes).parts(accumulate) for rank in range(processes)]
    assert sorted(part for place in places for part in place) == list(range(parts))
    streams = [Loader(reader, made, 0, wants.samples, parts, place).stream(3) for place in places]
    for step in range(3, 7):  # over the end of an epoch of two
        batches: list[Batch] = [next(streams[part % processes]) for part in range(parts)]
        assert torch.equal(torch.cat([batch.row for batch in batches]), whole[step].row)
        assert torch.equal(torch.cat([batch.ecg for batch in batches]), whole[step].ecg)
        assert {len(batch.row) for batch in batches} == {24 // parts}


def test_rows_that_cannot_be_dealt_are_refused(store: Store) -> None:
    reader, every = Reader(store, Signal(seconds=1.0)), torch.arange(60)

    def dealt(sampler: object, parts: int) -> Loader:
        return Loader(reader, sampler, 0, 100, parts, range(parts))

    with pytest.raises(ValueError, match="reads 25 records here .* in 2 equal batches .*: change"):
        dealt(Shuffled(every, 25, 0), 2)
    with pytest.raises(ValueError, match="reads 60 records here .* in 40 equal batches"):
        dealt(Shuffled(every, 640, 0), 40)
    with pytest.raises(ValueError, match="reads 60 records here .* in 60 equal batches"):
        dealt(Shuffled(every, 640, 0), 60)  # one row is no batch
    with pytest.raises(ValueError, match="in 6 equal batches .* with 3 for each patient"):
        dealt(Patients(every, every // 3, 48, 0, records=3), 6)
    with pytest.raises(ValueError, match="in 16 equal batches"):  # one patient is nothing to compare
        dealt(Patients(every, every // 3, 48, 0, records=3), 16)
    assert len(dealt(Patients(every, every // 3, 48, 0, records=3), 4)[0].row) == 12
    assert len(dealt(Shuffled(every, 640, 0), 2)[0].row) == 30  # a small store: all of it, as without parts


@pytest.mark.parametrize("wrong", [0, -1, 1.5])
def test_what_cannot_be_accumulated(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"\[train\]"):
        call(Schedule, {"accumulate": wrong}, where="train")
