"""Metric and contrastive losses against slow loops and pytorch-metric-learning, in value and gradient."""

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pytorch_metric_learning import distances, losses, reducers, regularizers
from torch import Tensor

from einthoven import parts
from einthoven.layers.kin import together
from einthoven.layers.n_pair import rivals_of
from einthoven.losses.surrogate import Surrogate
from einthoven.types import Batch, Distance, Loss, Miner, Outputs, Tokens, Triplets

ROWS = 12
NAN = math.nan


class Fixed(Miner):
    """The triplets that it is given."""

    def __init__(self, mined: Triplets, *, reads_labels: bool = False):
        super().__init__()
        self.mined = mined
        if reads_labels:
            self.serves = ("labels", "multiclass")

    def forward(self, outputs: Outputs, batch: Batch) -> Triplets:
        return self.mined


def triplets(*each: tuple[int, int, int]) -> Triplets:
    return Triplets(*torch.tensor(each).T)


def at_random(count: int = 20) -> Triplets:
    return triplets(*(tuple(torch.randperm(ROWS)[:3].tolist()) for _ in range(count)))


def space(rows: int = ROWS, dim: int = 4) -> Tensor:
    return torch.randn(rows, dim, dtype=torch.float64, requires_grad=True)


def batch(
    rows: int = ROWS,
    *,
    row: list[int] | None = None,
    patient: list[int] | None = None,
    target: Any = None,
    **columns: list[float],
) -> Batch:
    places = torch.arange(rows)
    return Batch(
        ecg=torch.zeros(rows, 12, 4),
        row=places if row is None else torch.tensor(row),
        patient=places if patient is None else torch.tensor(patient),
        target=None if target is None else torch.as_tensor(target, dtype=torch.float32).reshape(rows, -1),
        columns={name: torch.tensor(column) for name, column in columns.items()},
    )


def built(name: str, **options: Any) -> Loss:
    loss: Loss = parts.find("losses", name)(**options)
    return loss


def agree(loss: Loss, some: Batch, z: Tensor, truth: Callable[[Tensor], Tensor], *more: Tensor) -> None:
    """Compare value and gradient with a truth; `more` are weights that both have."""
    value, true = loss(Outputs(embedding=z), some), truth(z)
    torch.testing.assert_close(value, true, atol=1e-6, rtol=1e-6, check_dtype=False)
    for mine, other in zip(
        torch.autograd.grad(value, [z, *more]), torch.autograd.grad(true, [z, *more]), strict=True
    ):
        torch.testing.assert_close(mine, other, atol=1e-6, rtol=1e-6)
        assert other.abs().max() > 1e-4


# Triplets


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("soft", [True, False])
def test_triplet_is_that_of_the_library(squared: bool, soft: bool) -> None:
    mined, labels = at_random(), torch.arange(ROWS)
    theirs = losses.TripletMarginLoss(
        margin=0.0 if soft else 0.7,
        smooth_loss=soft,
        distance=distances.LpDistance(normalize_embeddings=False, p=2, power=1 + squared),
        reducer=reducers.MeanReducer(),
    )
    mine = built("triplet", miner=Fixed(mined), margin=0.7, squared=squared, soft=soft)
    agree(mine, batch(), space(), lambda z: theirs(z, labels, tuple(mined)))


def test_plain_distances_have_a_slope_where_a_copy_is_met() -> None:
    z = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.3, 0.4]], requires_grad=True)
    value = built("triplet", miner=Fixed(triplets((0, 1, 2))), margin=1.0, squared=False)(
        Outputs(embedding=z), batch(3)
    )
    value.backward()
    assert value.item() == pytest.approx(0.5)
    torch.testing.assert_close(z.grad, torch.tensor([[0.6, 0.8], [0.0, 0.0], [-0.6, -0.8]]))


def test_margin_is_that_of_the_library() -> None:
    """Two classes: those who have the label, and the others, whose radius stands last."""
    mined, target = at_random(), torch.arange(ROWS) % 2
    mine = built("margin", labels=1, miner=Fixed(mined), margin=0.3, beta=1.1).double()
    with torch.no_grad():
        mine.beta[1] = 1.7
    theirs = losses.MarginLoss(margin=0.3, beta=1.1, num_classes=2, learn_beta=True)
    theirs.distance = distances.LpDistance(normalize_embeddings=False)
    theirs.beta = mine.beta
    agree(mine, batch(target=target), space(), lambda z: theirs(z, 1 - target, tuple(mined)), mine.beta)


def test_a_radius_is_the_mean_over_the_labels_that_are_there() -> None:
    mine = built("margin", labels=3, miner=Fixed(at_random()))
    with torch.no_grad():
        mine.beta.copy_(torch.tensor([1.0, 2.0, 4.0, 8.0]))
    target = [[1, 0, 0], [1, 0, 1], [1, 1, NAN], [0, 0, 0], [0, NAN, 0], [NAN, NAN, NAN]]
    assert mine.radius(batch(6, target=target)).tolist() == [1, 2.5, 1.5, 8, 8, 8]
    for kind in ([[1.0, 0.2, 3.0]] * 2, None):  # numbers; nothing
        assert mine.radius(batch(2, target=kind)).tolist() == [8, 8]
    assert (
        built("margin", miner=Fixed(at_random())).radius(batch(2, target=torch.zeros(2, 0))).tolist()
        == [pytest.approx(1.2)] * 2
    )


def test_margin_by_hand() -> None:
    """Distances 1 and 1.3: terms 1 - 1.2 + 0.5 and 1.2 - 1.3 + 0.5, and a pair far apart counts one term."""
    z = torch.tensor([[0.0], [1.0], [1.3], [9.0]])
    mine = built("margin", miner=Fixed(triplets((0, 1, 2), (0, 1, 3))), margin=0.5)
    assert mine(Outputs(embedding=z), batch(4)).item() == pytest.approx((0.3 + 0.4 + 0.3) / 3, abs=1e-6)


def slow_n_pair(z: Tensor, mined: Triplets, rivals: Tensor) -> Tensor:
    each = []
    for (a, p, _), mine in zip(torch.stack(list(mined), 1).tolist(), rivals.tolist(), strict=True):
        terms = [(z[a] @ (z[n] - z[p])).clamp(-50, 50).exp() for n in range(len(z)) if mine[n]]
        each.append((1 + torch.stack(terms).sum()).log())
    return torch.stack(each).mean()


def slow_angle(z: Tensor, mined: Triplets, degrees: float) -> Tensor:
    tangent, unit, each = math.tan(degrees * math.pi / 180) ** 2, z / z.norm(dim=1, keepdim=True), []
    for a, p, n in torch.stack(list(mined), 1).tolist():
        f = 4 * tangent * (unit[a] + unit[p]) @ unit[n] - 2 * (1 + tangent) * unit[a] @ unit[p]
        each.append((1 + f.exp()).log())
    return torch.stack(each).mean()


def slow_rivals(mined: Triplets, some: Batch, labelled: bool) -> Tensor:
    listed = torch.stack(list(mined), 1).tolist()
    rivals = torch.zeros(len(listed), ROWS, dtype=torch.bool)
    for i, (a, _, _) in enumerate(listed):
        for n in {n for _, _, n in listed}:
            alike = (
                some.target is not None and bool((some.target[a] == some.target[n]).all())
                if labelled
                else bool(some.patient[a] == some.patient[n])
            )
            kin = alike or some.row[a] == some.row[n] or any((a, n) == (x, y) for x, y, _ in listed)
            rivals[i, n] = not kin or any((a, n) == (x, y) for x, _, y in listed)
    return rivals


@pytest.mark.parametrize("labelled", [True, False])
def test_the_negatives_of_a_batch(labelled: bool) -> None:
    target = torch.randint(0, 2, (ROWS, 2)).float()
    target[:2, 1] = NAN  # two views of a record of which little is known
    some = batch(row=[0, 0, *range(2, ROWS)], patient=[0, 0, 0, 3, 3, *range(5, ROWS)], target=target)
    mined = at_random(9)
    mined.anchor[1] = mined.anchor[0]  # an anchor of two triplets
    for places, pair in zip(mined, ([0, 7], [5, 8], [6, 1]), strict=True):  # 1 is a negative, but not of 0
        places[2:4] = torch.tensor(pair)
    mine = rivals_of(mined, some, Fixed(mined, reads_labels=labelled))
    assert torch.equal(mine, slow_rivals(mined, some, labelled))
    own = mine[torch.arange(9), mined.negative]
    assert own.all() and mine.sum() > own.sum()


def test_n_pair_and_angular_are_their_definitions() -> None:
    mined, some = at_random(), batch(patient=[0, 0, 1, 1, *range(4, ROWS)])
    rivals = slow_rivals(mined, some, False)

    def pairs(z: Tensor) -> Tensor:
        return slow_n_pair(z, mined, rivals)

    def length(z: Tensor) -> Tensor:
        return torch.stack([(row @ row).sqrt() for row in z]).mean()

    agree(built("n_pair", miner=Fixed(mined)), some, space(), lambda z: pairs(z) + 0.005 * length(z))
    agree(
        built("angular", miner=Fixed(mined)),
        some,
        space(),
        lambda z: pairs(z) + 2 * slow_angle(z, mined, 45) + 0.005 * length(z),
    )
    agree(
        built("angular", miner=Fixed(mined), alpha=30.0, pairs=0.5, angles=3.0, size=0.1),
        some,
        space(),
        lambda z: 0.5 * pairs(z) + 3 * slow_angle(z, mined, 30) + 0.1 * length(z),
    )


def test_products_are_held_within_fifty() -> None:
    z = torch.tensor([[20.0], [0.0], [20.0]])
    mine = built("n_pair", miner=Fixed(triplets((0, 1, 2))), size=0.0)
    assert mine(Outputs(embedding=z), batch(3)).item() == pytest.approx(50)


def test_n_pair_is_that_of_the_library() -> None:
    """A pair of each class: the negatives of a batch are then the positives of the others."""
    labels = torch.arange(ROWS) // 2
    theirs = losses.NPairsLoss(
        distance=distances.DotProductSimilarity(normalize_embeddings=False),
        embedding_regularizer=regularizers.LpRegularizer(),
        embedding_reg_weight=0.005,
    )
    mined = triplets(*((i, i + 1, (i + 3) % ROWS) for i in range(0, ROWS, 2)))
    mine = built("n_pair", miner=Fixed(mined, reads_labels=True))
    agree(
        mine, batch(target=labels), space(), lambda z: theirs(z, labels, (*mined[:2], *mined[:1], mined[2]))
    )


def test_angles_are_those_of_the_library() -> None:
    labels, mined = torch.tensor([0, 0, 1]), triplets((0, 1, 2), (1, 0, 2))
    theirs = losses.AngularLoss(alpha=40)
    mine = built("angular", miner=Fixed(mined), alpha=40.0, pairs=0.0, angles=1.0, size=0.0)
    agree(mine, batch(3), space(3), lambda z: theirs(F.normalize(z, dim=1), labels))


# All rows of a batch


def test_together_by_a_slow_loop() -> None:
    target = torch.tensor([[0.0, 1], [0, 1], [1, 1], [NAN, 1], [NAN, 1], [0, 1]])
    some = batch(6, row=[0, 0, 1, 2, 2, 0], patient=[0, 0, 0, 1, 1, 0], target=target)
    for same, who in (("record", some.row), ("patient", some.patient), ("target", target)):
        truth = [[i != j and bool((who[i] == who[j]).all()) for j in range(6)] for i in range(6)]
        assert together(some, same).tolist() == truth
    assert not together(some, "target")[3:5].any() and together(some, "target").sum() == 6


def test_two_views_make_the_loss_of_simclr() -> None:
    """Views as SimCLR stacks them: cross-entropy of the partner's place among all other rows."""
    partner = torch.arange(ROWS).roll(ROWS // 2)
    some = batch(row=(torch.arange(ROWS) % (ROWS // 2)).tolist())

    def simclr(z: Tensor) -> Tensor:
        unit = z / z.norm(dim=1, keepdim=True)
        score = (unit @ unit.T / 0.2).masked_fill(torch.eye(ROWS, dtype=torch.bool), -torch.inf)
        return F.cross_entropy(score, partner)

    agree(built("nt_xent", temperature=0.2), some, space(), simclr)


@pytest.mark.parametrize("same", ["record", "patient"])
def test_nt_xent_is_that_of_the_library(same: str) -> None:
    """Groups of four, three, two and alone."""
    who = [0, 1, 2, 0, 1, 2, 0, 1, 0, 3, 4, 5]
    theirs = losses.NTXentLoss(temperature=0.1)
    some = batch(**{{"record": "row"}.get(same, same): who})
    agree(built("nt_xent", same=same), some, space(), lambda z: theirs(z, torch.tensor(who)))


def test_a_partner_without_strangers_is_found() -> None:
    z = space(2)
    value = built("nt_xent")(Outputs(embedding=z), batch(2, row=[0, 0]))
    value.backward()
    assert value.item() == 0
    assert z.grad is not None and not z.grad.any()


def test_supcon_is_that_of_the_library() -> None:
    classes = [0, 1, 2, 0, 1, 2, 0, 1, 0, 3, 4, 5]
    theirs = losses.SupConLoss(temperature=0.2)
    one_hot = F.one_hot(torch.tensor(classes), 6)
    agree(
        built("supcon", temperature=0.2),
        batch(target=one_hot),
        space(),
        lambda z: theirs(z, torch.tensor(classes)),
    )
    some = batch(patient=classes)
    agree(built("supcon", same="patient"), some, space(), lambda z: losses.SupConLoss()(z, some.patient))


def slow_rank(
    z: Tensor, value: list[float], temperature: float, power: float, far_out: int | None = None
) -> Tensor:
    known = [i for i, y in enumerate(value) if y == y]
    each = []

    def likeness(i: int, j: int) -> Tensor:
        return -(z[i] - z[j]).abs().pow(power).sum().pow(1 / power) / temperature

    for i in known:
        for j in [j for j in known if j != i]:
            gap = abs(value[i] - value[j])
            farther = [k for k in known if k != i and (i == far_out or abs(value[i] - value[k]) >= gap)]
            each.append(torch.stack([likeness(i, k) for k in farther]).logsumexp(0) - likeness(i, j))
    return torch.stack(each).mean()


TIES = [3.0, 1.0, 2.0, 2.0, NAN, 5.0, 1.0, 3.0, 3.0, NAN, 4.0, 0.5]


@pytest.mark.parametrize("distance, power", [("l1", 1.0), ("l2", 2.0)])
@pytest.mark.parametrize("temperature", [0.05, 2.0])
def test_rank_n_contrast_is_its_definition(distance: str, power: float, temperature: float) -> None:
    mine = built("rank_n_contrast", temperature=temperature, distance=distance)
    agree(mine, batch(target=TIES), space(), lambda z: slow_rank(z, TIES, temperature, power))


AGES = [59.0, 60, 61, 62, 58, 40, 80, 60, 59, 71, 49, 90]


@pytest.mark.parametrize(("mean", "sd"), [(52.6, 13.7), (15.678, 8.145), (0.1, 0.3)])
def test_equal_gaps_are_equal_after_scaling(mean: float, sd: float) -> None:
    """60 lies as far from 59 as from 61, though the scaled target is rounded."""
    scaled = (torch.tensor(AGES) - mean) / sd
    gap = (scaled[:, None] - scaled).abs()
    assert gap[1, 0] != gap[1, 2] or gap[0, 3] != gap[0, 1] + gap[1, 2]
    mine = built("rank_n_contrast", temperature=0.1)
    agree(mine, batch(target=scaled), space(), lambda z: slow_rank(z, AGES, 0.1, 2.0))


def test_one_value_far_out_makes_no_others_equal() -> None:
    far_out = [*AGES[1:], 3e9]
    mine, from_there = built("rank_n_contrast", temperature=0.1), ROWS - 1  # all others are equally far
    agree(mine, batch(target=far_out), space(), lambda z: slow_rank(z, far_out, 0.1, 2.0, from_there))


def test_any_column_can_rank() -> None:
    mine = built("rank_n_contrast", column="age")
    assert mine.reads == ("age",) and "unlabelled" in mine.serves
    assert built("rank_n_contrast").serves == ("regression",)
    with pytest.raises(ValueError, match="'rank_n_contrast' reads column 'age', which this batch lacks"):
        mine(Outputs(embedding=space()), batch(target=TIES))
    agree(mine, batch(age=TIES), space(), lambda z: slow_rank(z, TIES, 2.0, 2.0))


def test_where_all_values_tie_all_are_as_far() -> None:
    """A thousand rows, which leave no room for a slow cube: cross-entropy of each place among all others."""
    rows = 1000

    def even(z: Tensor) -> Tensor:
        others = ~torch.eye(rows, dtype=torch.bool)
        score = -torch.cdist(z, z, compute_mode="donot_use_mm_for_euclid_dist") / 2
        each = score.masked_fill(~others, -torch.inf).logsumexp(1, keepdim=True) - score
        return each[others].mean()

    z = torch.randn(rows, 8)
    value = built("rank_n_contrast")(Outputs(embedding=z), batch(rows, target=torch.ones(rows)))
    torch.testing.assert_close(value, even(z))


# Any loss of the library

WEIGHTED = {"num_classes": 3, "embedding_size": 4}
OPTIONS: dict[str, dict[str, Any]] = {
    **{name: WEIGHTED for name in ("ArcFaceLoss", "CosFaceLoss", "LargeMarginSoftmaxLoss")},
    **{name: WEIGHTED for name in ("NormalizedSoftmaxLoss", "ProxyAnchorLoss", "ProxyNCALoss")},
    **{name: WEIGHTED for name in ("SoftTripleLoss", "SphereFaceLoss", "SubCenterArcFaceLoss")},
    "HistogramLoss": {"n_bins": 10},
    "P2SGradLoss": {"descriptors_dim": 4, "num_classes": 3},
    "RankedListLoss": {"margin": 0.4, "Tn": 1.0},
}
PUBLISHED = sorted(
    name
    for name, part in vars(losses).items()
    if isinstance(part, type) and issubclass(part, losses.BaseMetricLossFunction)
)


UNFIT = ("BaseMetricLossFunction", "GenericPairLoss", "InstanceLoss", "ManifoldLoss", "VICRegLoss")


@pytest.mark.filterwarnings("ignore::UserWarning:pytorch_metric_learning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:pytorch_metric_learning")
@pytest.mark.parametrize("name", [name for name in PUBLISHED if name not in UNFIT])
def test_every_loss_of_the_library_learns_by_its_name(name: str) -> None:
    classes = torch.tensor([2, 0, 1]).repeat(ROWS // 3)
    options = OPTIONS.get(name, {})
    table = {"name": "metric", "loss": name, "options": options}
    mine = parts.build("losses", table, labels=3, exclusive=True)
    z = torch.randn(ROWS, 4, requires_grad=True)
    torch.manual_seed(1)
    value = mine(Outputs(embedding=z), batch(target=F.one_hot(classes)))
    value.backward()
    torch.manual_seed(1)
    same = mine.loss(z.detach(), classes)  # weights of classes are those of our numbers
    torch.testing.assert_close(value, same)
    assert z.grad is not None and z.grad.isfinite().all()
    assert [n for n, weight in mine.named_parameters() if weight.grad is None] == []


def test_a_loss_of_the_library_on_mined_triplets() -> None:
    mined = triplets(*((i, i ^ 1, (i + 3) % ROWS) for i in range(ROWS)))
    theirs = losses.CircleLoss(m=0.3)
    mine = built("metric", loss="CircleLoss", options={"m": 0.3}, miner=Fixed(mined))
    assert "regression" in mine.serves
    unknown = torch.full((ROWS, 1), NAN)
    agree(mine, batch(target=unknown), space(), lambda z: theirs(z, torch.arange(ROWS), tuple(mined)))


def test_weights_of_classes_learn_nothing_where_nothing_is_mined() -> None:
    nothing = Triplets(*torch.zeros(3, 0, dtype=torch.int64))
    mine = built("metric", labels=1, loss="ArcFaceLoss", options=WEIGHTED, miner=Fixed(nothing))
    z = space()
    value = mine(Outputs(embedding=z), batch(target=torch.arange(ROWS) % 2))
    value.backward()
    assert value.item() == 0
    assert z.grad is not None and not z.grad.any()


def test_sets_of_labels_are_classes() -> None:
    target = torch.tensor([[0, 1], [1, 1], [0, 1], [0, 0], [1, 1], [0, 0]])
    theirs, classes = losses.MultiSimilarityLoss(), torch.tensor([0, 1, 0, 2, 1, 2])
    agree(built("metric", labels=2), batch(6, target=target), space(6), lambda z: theirs(z, classes))


def test_without_a_task_views_of_a_record_are_a_class() -> None:
    row = [7, 7, 3, 3, 5, 5]
    theirs = losses.MultiSimilarityLoss()
    agree(built("metric"), batch(6, row=row), space(6), lambda z: theirs(z, torch.tensor(row)))


def test_mistakes_with_the_library_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="knows no 'CircelLoss' of pytorch.*Did you mean 'CircleLoss'"):
        built("metric", loss="CircelLoss")
    with pytest.raises(ValueError, match="knows no 'VICRegLoss'"):
        built("metric", loss="VICRegLoss")
    with pytest.raises(ValueError, match=r"CircleLoss: .*'gama'"):
        built("metric", loss="CircleLoss", options={"gama": 1.0})
    with pytest.raises(ValueError, match="ArcFaceLoss.*num_classes"):
        built("metric", loss="ArcFaceLoss")
    with pytest.raises(ValueError, match="needs classes that exclude each other"):
        built("metric", labels=3, loss="ArcFaceLoss", options=WEIGHTED)
    monkeypatch.setitem(sys.modules, "pytorch_metric_learning", None)
    with pytest.raises(ValueError, match=r"needs: pip install 'einthoven\[metric\]'"):
        built("metric")


# The head that makes the space


def test_projection_by_hand() -> None:
    tokens = Tokens(torch.randn(6, 5, 3))
    plain = parts.build("heads", {"name": "project", "size": 2}, dim=3)
    assert sorted(plain.state_dict()) == ["linear.bias", "linear.weight"]
    pooled = tokens.values.mean(1)
    torch.testing.assert_close(plain(tokens)["embedding"], F.linear(pooled, *plain.parameters()))
    head = parts.build("heads", {"name": "project", "size": 2, "hidden": 7, "normalise": True}, dim=3)
    before = pooled @ head.hidden[0].weight.T
    before = (before - before.mean(0)) / (before.var(0, correction=0) + 1e-5).sqrt()
    after = F.linear(before.relu(), head.linear.weight, head.linear.bias)
    torch.testing.assert_close(head(tokens)["embedding"], after / after.norm(dim=1, keepdim=True))


def test_a_projection_into_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="needs size from 1"):
        parts.build("heads", {"name": "project", "size": 0}, dim=3)


def test_surrogate_by_a_slow_loop() -> None:
    """Root mean square, over pairs of different records, of the distance in space less that of raw ECGs."""
    chance = torch.Generator().manual_seed(3)
    embedding = torch.randn(6, 4, generator=chance, dtype=torch.float64, requires_grad=True)
    row = torch.tensor([5, 2, 5, 0, 7, 2])
    raw = {(i, j): abs(i - j) ** 0.5 for i in range(8) for j in range(8)}
    raw[0, 7] = raw[7, 0] = math.nan

    class Table(Distance):
        def among(self, rows: np.ndarray) -> np.ndarray:
            return np.array([[raw[int(i), int(j)] for j in rows] for i in rows], np.float32)

    batch = Batch(ecg=torch.zeros(6, 12, 4), row=row, patient=row)
    value = Surrogate(distance=Table())(Outputs(embedding=embedding), batch)
    errors = []
    for i in range(6):
        for j in range(i + 1, 6):
            wanted = raw[int(row[i]), int(row[j])]
            if row[i] != row[j] and not math.isnan(wanted):
                errors.append((embedding[i] - embedding[j]).norm() - wanted)
    slow = torch.stack(errors).square().mean().sqrt()
    torch.testing.assert_close(value, slow, rtol=1e-6, atol=1e-7)
    mine, theirs = (torch.autograd.grad(x, embedding, retain_graph=True)[0] for x in (value, slow))
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-7)
