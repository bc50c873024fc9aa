"""Each miner against its rule, as a slow loop tells it: every choice, and how often it is made."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from einthoven import parts
from einthoven.miners.raw_distance import RawDistance
from einthoven.types import Batch, Distance, Miner, Outputs, Triplets

Chances = dict[tuple[int, int], float]  # (positive, negative): how probable
Rule = Callable[[Batch, Outputs, int], Chances]
ROWS = [40, 12, 33, 7, 25, 18, 12, 40, 12, 3]  # record 12 has three views, record 40 two


class Table(Distance):
    """Made-up distances, some of them equal, between rows 0 to 49 of a store."""

    def __init__(self) -> None:
        one = np.random.default_rng(3).integers(1, 9, (50, 50)).astype(np.float32)
        self.table = np.triu(one, 1) + np.triu(one, 1).T

    def among(self, rows: np.ndarray) -> np.ndarray:
        return self.table[np.ix_(rows, rows)]


def batch(target: list[list[float]], rows: Iterable[int] = ROWS, **columns: list[float]) -> Batch:
    """A batch whose records' labels are found by row, so that views share them."""
    rows = list(rows)
    seen = list(dict.fromkeys(rows))
    place = [seen.index(row) for row in rows]
    return Batch(
        ecg=torch.zeros(len(rows), 12, 4),
        row=torch.tensor(rows),
        patient=torch.tensor([seen.index(row) // 2 for row in rows]),
        target=torch.tensor(target)[place],
        columns={name: torch.tensor(values)[place] for name, values in columns.items()},
    )


def views_of(rows: list[int], chances: dict[tuple[int, int], float]) -> Chances:
    """From records to the places that show them, each view alike."""
    return {
        (p, n): chance / rows.count(positive) / rows.count(negative)
        for (positive, negative), chance in chances.items()
        for p in range(len(rows))
        for n in range(len(rows))
        if rows[p] == positive and rows[n] == negative
    }


def extremes(asked: Batch, i: int, gap: Callable[[int, int], Any], most: int | None) -> Chances:
    """The nearest record, and one of the `most` farthest or any farther; `gap` of rows, None: unknown."""
    rows = asked.row.tolist()
    gaps = {row: gap(rows[i], row) for row in set(rows) - {rows[i]}}
    gaps = {row: value for row, value in gaps.items() if value is not None}
    near = min(gaps.values(), default=None)
    farther = sorted((value for value in gaps.values() if value > near), reverse=True)
    if not farther:
        return {}
    least = farther[-1] if most is None else farther[min(most, len(farther)) - 1]
    positives = [row for row, value in gaps.items() if value == near]
    negatives = [row for row, value in gaps.items() if value > near and value >= least]
    chance = 1 / len(positives) / len(negatives)
    return views_of(rows, {(p, n): chance for p in positives for n in negatives})


def raw(most: int | None) -> Rule:
    table = Table().table
    return lambda asked, outputs, i: extremes(asked, i, lambda a, b: table[a, b], most)


def by_number(values: list[float], most: int) -> Rule:
    """`values` in the unit of the column, by record in the order in which a batch shows them."""

    def rule(asked: Batch, outputs: Outputs, i: int) -> Chances:
        number = dict(zip(dict.fromkeys(asked.row.tolist()), values, strict=False))

        def gap(a: int, b: int) -> float | None:
            value = abs(number[a] - number[b])
            return None if math.isnan(value) else value

        return extremes(asked, i, gap, most)

    return rule


def overlap(asked: Batch, outputs: Outputs, i: int) -> Chances:
    sets: dict[int, set[int] | None] = {}
    assert asked.target is not None
    for row, line in zip(asked.row.tolist(), asked.target.tolist(), strict=True):
        sets[row] = None if any(map(math.isnan, line)) else {k for k, value in enumerate(line) if value}

    def gap(a: int, b: int) -> Fraction | None:
        one, other = sets[a], sets[b]
        if one is None or other is None:
            return None
        return 1 - Fraction(len(one & other), len(one | other)) if one | other else Fraction(0)

    chances = extremes(asked, i, gap, 1)
    rows = asked.row.tolist()
    return {(p, n): c for (p, n), c in chances.items() if gap(rows[i], rows[p]) != 1}  # an overlap above 0


def classes(asked: Batch, i: int) -> tuple[list[int], list[int]]:
    """Places of other records of the same class, and places of another class."""
    assert asked.target is not None
    line, rows = asked.target.tolist(), asked.row.tolist()
    if any(map(math.isnan, line[i])):
        return [], []
    known = [j for j in range(len(rows)) if not any(map(math.isnan, line[j]))]
    same = [j for j in known if line[j] == line[i] and rows[j] != rows[i]]
    return same, [j for j in known if line[j] != line[i]]


def each_with_each(same: list[int], other: list[int]) -> Chances:
    return {(p, n): 1 / len(same) / len(other) for p in same for n in other}


def n_pair(asked: Batch, outputs: Outputs, i: int) -> Chances:
    return each_with_each(*classes(asked, i))


def away(outputs: Outputs, i: int) -> list[float]:
    points = outputs["embedding"].double()
    return [math.dist(points[i].tolist(), point.tolist()) for point in points]


def semihard(margin: float, power: int) -> Rule:
    def rule(asked: Batch, outputs: Outputs, i: int) -> Chances:
        (same, other), chances = classes(asked, i), {}
        far = [distance**power for distance in away(outputs, i)]
        for p in same:
            little = [n for n in other if far[p] < far[n] < far[p] + margin] or other
            chances |= {(p, n): 1 / len(same) / len(little) for n in little}
        return chances

    return rule


def softhard(asked: Batch, outputs: Outputs, i: int) -> Chances:
    (same, other), far = classes(asked, i), away(outputs, i)
    if not same or not other:
        return {}
    hard = [p for p in same if far[p] > min(far[n] for n in other)]
    near = [n for n in other if far[n] < max(far[p] for p in same)]
    return each_with_each(hard or same, near or other)


def batch_hard(asked: Batch, outputs: Outputs, i: int) -> Chances:
    (same, other), far = classes(asked, i), away(outputs, i)
    if not same or not other:
        return {}
    return {(max(same, key=lambda p: far[p]), min(other, key=lambda n: far[n])): 1.0}


def same_patient(asked: Batch, outputs: Outputs, i: int) -> Chances:
    rows, who = asked.row.tolist(), asked.patient.tolist()
    mine = [j for j in range(len(rows)) if who[j] == who[i] and j != i]
    others = [j for j in mine if rows[j] != rows[i]]
    return each_with_each(others or mine, [j for j in range(len(rows)) if who[j] != who[i]])


NUMBERS = [61.0, 60, 59, 75, 20, 20, 41, 61]
SETS = [[1.0, 1, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1], [1, 0, 0], [0, 0, 0], [1, 1, 1]]
ONE_HOT = [[1.0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
BINARY = [[0.0], [1], [0], [1], [1], [0], [0], [0]]
SCALED = ((torch.tensor(NUMBERS) - 52.6) / 13.7)[:, None].tolist()  # 61 - 60 is no longer 60 - 59, quite
CASES: dict[str, tuple[str, dict[str, Any], list[list[float]], Rule]] = {
    "raw": ("raw_distance", {}, BINARY, raw(2)),
    "raw, farthest": ("raw_distance", {"top_k": 1}, BINARY, raw(1)),
    "raw, any": ("raw_distance", {"negative": "any"}, BINARY, raw(None)),
    "number": ("label_distance", {}, SCALED, by_number(NUMBERS, 1)),
    "number, top 3": ("label_distance", {"top_k": 3}, SCALED, by_number(NUMBERS, 3)),
    "column": ("label_distance", {"column": "age"}, BINARY, by_number(NUMBERS, 1)),
    "n_pair": ("n_pair", {}, BINARY, n_pair),
    "n_pair, classes": ("n_pair", {}, ONE_HOT, n_pair),
    "n_pair, sets": ("n_pair", {}, SETS, n_pair),
    "semihard": ("semihard", {"margin": 0.8}, BINARY, semihard(0.8, 2)),
    "semihard, plain": ("semihard", {"margin": 0.8, "squared": False}, BINARY, semihard(0.8, 1)),
    "softhard": ("softhard", {}, BINARY, softhard),
    "hardest": ("softhard", {"hardest": True}, BINARY, batch_hard),
    "hardest, sets": ("softhard", {"hardest": True}, SETS, batch_hard),
    "overlap": ("label_overlap", {}, SETS, overlap),
    "same_patient": ("same_patient", {}, BINARY, same_patient),
}
every = pytest.mark.parametrize("case", CASES)


def miner_of(name: str, options: dict[str, Any]) -> Miner:
    own = {"distance": Table()} if name == "raw_distance" else {}
    miner: Miner = parts.find("miners", name)(**options, **own)
    return miner


@every
def test_chooses_what_the_rule_allows_in_random_batches(case: str) -> None:
    name, options, target, rule = CASES[case]
    miner, chance = miner_of(name, options), np.random.default_rng(0)
    for _ in range(40):
        rows, numbers = chance.integers(0, 8, chance.integers(1, 14)).tolist(), list(NUMBERS)
        known = batch(target, range(8), age=numbers)
        unknown = int(chance.integers(8))
        numbers[unknown] = known.columns["age"][unknown] = math.nan
        assert known.target is not None
        known.target[unknown, int(chance.integers(known.target.shape[1]))] = math.nan
        asked = known.take(torch.tensor(rows))
        if name == "label_distance":
            rule = by_number([numbers[row] for row in dict.fromkeys(rows)], options.get("top_k", 1))
        outputs = Outputs(embedding=torch.randn(len(rows), 2))
        allowed = [rule(asked, outputs, i) for i in range(len(rows))]
        mined = miner(outputs, asked)
        assert mined.anchor.tolist() == [i for i, chances in enumerate(allowed) if chances]
        for anchor, positive, negative in torch.stack(mined).T.tolist():
            assert (positive, negative) in allowed[anchor]


@every
def test_chooses_all_that_it_may_as_often_as_it_should(case: str) -> None:
    name, options, target, rule = CASES[case]
    miner, asked, draws = miner_of(name, options), batch(target, age=NUMBERS), 400
    outputs = Outputs(embedding=torch.randn(len(ROWS), 2))
    chosen = Counter(
        line for _ in range(draws) for line in map(tuple, torch.stack(miner(outputs, asked)).T.tolist())
    )
    anchors = {anchor for anchor, _, _ in chosen}
    assert len(anchors) > len(ROWS) / 2
    for i in anchors:
        for side in (0, 1):
            expected, found = Counter[int](), Counter[int]()
            for pair, chance in rule(asked, outputs, i).items():
                expected[pair[side]] += draws * chance  # type: ignore[assignment]
                found[pair[side]] += chosen[i, *pair]
            assert found.total() == draws and expected.total() == pytest.approx(draws)
            off = sum((found[j] - often) ** 2 / often for j, often in expected.items())
            assert len(expected) == 1 or chi2.sf(off, len(expected) - 1) > 1e-5, (i, side, expected, found)


def line(positions: list[float], labels: list[int]) -> tuple[Outputs, Batch]:
    """Embeddings on a line, each of its own record."""
    asked = batch([[float(label)] for label in labels], range(len(labels)))
    return Outputs(embedding=torch.tensor(positions)[:, None]), asked


def test_semihard_takes_the_negative_just_beyond_the_positive() -> None:
    outputs, asked = line([0.0, 1.0, 0.9, 1.15, 1.05, 5.0], [1, 1, 0, 0, 0, 0])
    drawn: dict[bool, set[int]] = {True: set(), False: set()}
    for squared in [True, False] * 20:
        mined = parts.build("miners", {"name": "semihard", "squared": squared})(outputs, asked)
        drawn[squared].add(int(mined.negative[0]))
    # Not 0.9, which is nearer, nor 5, which is beyond the margin of 0.2; nor 1.15, where squares count.
    assert drawn == {True: {4}, False: {3, 4}}
    outputs, asked = line([0.0, 1.0, 0.9, 5.0], [1, 1, 0, 0])
    drawn = {int(parts.build("miners", {"name": "semihard"})(outputs, asked).negative[0]) for _ in range(30)}
    assert drawn == {2, 3}  # none lies there: any


@pytest.mark.parametrize("squared", [True, False])
def test_a_semihard_triplet_costs_the_triplet_loss_something(squared: bool) -> None:
    """In a space of any size, where any is to be found; by default miner and loss mean the same."""
    options = [parts.signature(parts.find(kind, name))[1] for kind, name in SEMIHARD]
    assert len({(found["margin"].default, found["squared"].default) for found in options}) == 1
    found = 0
    for scale in (0.03, 0.3, 1.0):
        space = scale * torch.randn(64, 128)
        asked = batch([[float(i % 3 == 0)] for i in range(64)], range(64))
        mined = parts.find("miners", "semihard")(margin=0.2, squared=squared)(Outputs(embedding=space), asked)
        apart = torch.cdist(space.double(), space.double()) ** (1 + squared)
        gap = apart[mined.anchor] - apart[mined.anchor, mined.positive][:, None]
        other = asked.target[mined.anchor] != asked.target[:, 0]  # type: ignore[index]
        some = (other & (gap > 1e-4) & (gap < 0.2 - 1e-4)).any(1)
        for place in some.nonzero()[:, 0]:
            only = Given(*(places[place][None] for places in mined))
            loss = parts.find("losses", "triplet")(miner=only, margin=0.2, squared=squared)
            assert 0 < loss(Outputs(embedding=space), asked) < 0.2 + 1e-4
        found += int(some.sum())
    assert found > 50


SEMIHARD = [("miners", "semihard"), ("losses", "triplet")]


class Given(Miner):
    """The triplets that it is given."""

    def __init__(self, *places: torch.Tensor):
        super().__init__()
        self.mined = Triplets(*places)

    def forward(self, outputs: Outputs, batch: Batch) -> Triplets:
        return self.mined


def test_softhard_takes_a_far_positive_and_a_near_negative() -> None:
    outputs, asked = line([0.0, 1.0, 3.0, 2.0, 9.0], [1, 1, 1, 0, 0])
    for _ in range(20):
        mined = parts.build("miners", {"name": "softhard"})(outputs, asked)
        assert (mined.positive[0], mined.negative[0]) == (2, 3)


def test_the_nearest_raw_ecg_is_the_positive_of_every_anchor() -> None:
    """Rank one, as it should be: never the second farthest."""
    chance = np.random.default_rng(0)

    class Points(Distance):
        at = chance.normal(size=(64, 4))

        def among(self, rows: np.ndarray) -> np.ndarray:
            return np.linalg.norm(self.at[rows][:, None] - self.at[rows], axis=2).astype(np.float32)

    rows = chance.permutation(64)
    apart = Points().among(rows) + np.diag(np.full(64, np.inf, np.float32))
    mined = RawDistance(distance=Points())(Outputs(), batch([[0.0]] * 64, rows.tolist()))
    assert mined.anchor.tolist() == list(range(64))
    ranks = (apart <= apart[np.arange(64), mined.positive][:, None]).sum(1)
    assert ranks.tolist() == [1] * 64
    beyond = (apart[np.arange(64), mined.negative][:, None] < np.where(np.isinf(apart), 0, apart)).sum(1)
    assert set(beyond.tolist()) == {0, 1}


def test_a_raw_distance_needs_three_records_and_a_difference() -> None:
    two = batch([[0.0]] * 2, [4, 9]).take(torch.tensor([0, 1, 0, 1]))
    assert not len(RawDistance(distance=Table())(Outputs(), two).anchor)

    class Alike(Distance):
        def among(self, rows: np.ndarray) -> np.ndarray:
            return 1 - np.eye(len(rows), dtype=np.float32)

    alike = RawDistance(distance=Alike(), negative="any")(Outputs(), batch([[0.0]] * 5, range(5)))
    assert not len(alike.anchor)


def test_more_farthest_values_are_shared_by_fewer() -> None:
    """With one farthest value the whole batch shares its two ends."""
    asked = batch([[float(value)] for value in range(64)], range(64))
    shared = parts.build("miners", {"name": "label_distance"})(Outputs(), asked)
    spread = parts.build("miners", {"name": "label_distance", "top_k": 8})(Outputs(), asked)
    assert set(shared.negative.tolist()) == {0, 63}
    assert set(spread.negative.tolist()) == {*range(8), *range(56, 64)}


def test_equal_gaps_are_equal_after_scaling() -> None:
    """60 lies as far from 59 as from 61, though the scaled target is rounded: nothing is farther."""
    for mean, sd in ((52.6, 13.7), (15.678, 8.145), (0.1, 0.3)):
        target = ((torch.tensor([59.0, 60, 61]) - mean) / sd)[:, None].tolist()
        mined = parts.build("miners", {"name": "label_distance"})(Outputs(), batch(target, range(3)))
        assert mined.anchor.tolist() == [0, 2]


def test_one_value_far_out_makes_no_others_equal() -> None:
    """As a pressure of 3,000,000 mmHg would, which a slip of a pen makes."""
    for scale in (1.0, 1e-9):
        values = [[scale * value] for value in (1.0, 2.0, 4.0, 8.0, 3e6)]
        mined = parts.build("miners", {"name": "label_distance"})(Outputs(), batch(values, range(5)))
        assert mined.anchor.tolist()[:4] == [0, 1, 2, 3]
        assert mined.positive.tolist()[:4] == [1, 0, 1, 2]
        assert mined.negative.tolist()[:4] == [4] * 4


def test_label_distance_by_a_column_reads_it_and_serves_every_task() -> None:
    by_column = parts.build("miners", {"name": "label_distance", "column": "pcwp"})
    assert by_column.reads == ("pcwp",) and "unlabelled" in by_column.serves
    assert parts.find("miners", "label_distance").serves == ("regression",)
    with pytest.raises(ValueError, match="reads column 'pcwp', which this batch lacks"):
        by_column(Outputs(), batch([[0.0]] * 3, range(3)))
    unknown = batch([[0.0]] * 4, range(4), pcwp=[math.nan, 12.0, 13.0, 30.0])
    mined = by_column(Outputs(), unknown)
    assert torch.stack(mined).T.tolist() == [[1, 2, 3], [2, 1, 3], [3, 2, 1]]


@pytest.mark.parametrize(
    ("name", "options"),
    [("label_distance", {"top_k": 0}), ("semihard", {"margin": 0.0}), ("raw_distance", {"top_k": 0})],
)
def test_refuses_options_that_mean_nothing(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"Miner '{name}' needs "):
        miner_of(name, options)
