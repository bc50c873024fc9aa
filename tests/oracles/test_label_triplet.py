"""The label triplet against a slow loop from its definition, in value and gradient."""

import pytest
import torch
from torch import Tensor

from einthoven import parts
from einthoven.layers.semihard import Values, slopes, slopes_in_torch
from einthoven.types import Batch, Outputs


def problem(rows: int = 14, size: int = 3) -> tuple[Tensor, Tensor]:
    """Spaces of six labels: one absent throughout, rare, common, even, present throughout, partly unknown."""
    torch.manual_seed(0)
    target = (torch.rand(rows, 6) < torch.tensor([0, 0.1, 0.3, 0.5, 1, 0.4])).float()
    target[0, 1] = 1
    target[:5, 5] = torch.nan
    return torch.randn(rows, 6, size, requires_grad=True), target


def batch(target: Tensor) -> Batch:
    rows = torch.arange(len(target))
    return Batch(ecg=torch.zeros(len(target), 12, 4), row=rows, patient=rows, target=target)


def loss(space: Tensor, target: Tensor, **options: object) -> Tensor:
    value: Tensor = parts.build("losses", {"name": "label_triplet"} | options)(
        Outputs(label_embedding=space), batch(target)
    )
    return value


def slow(space: Tensor, target: Tensor, margin: float, collapse: bool, positives: bool) -> Tensor:
    space = space.double()
    unit = space / space.norm(dim=2, keepdim=True)
    each = [hinges(unit[:, k], target[:, k], margin, collapse, positives) for k in range(target.shape[1])]
    means = [torch.stack(label).mean() for label in each if label]
    return torch.stack(means).sum() / (len(each) if collapse else len(means))


def hinges(unit: Tensor, target: Tensor, margin: float, collapse: bool, positives: bool) -> list[Tensor]:
    """One for each pair of one label."""
    found = []
    known = [i for i in range(len(target)) if not target[i].isnan()]
    for i in [i for i in known if target[i] or not positives]:
        far = [(unit[i] - unit[n]).square().sum() for n in known if target[n] != target[i]]
        for j in [j for j in known if j != i and target[j] == target[i]]:
            near = (unit[i] - unit[j]).square().sum()
            if far:
                beyond = [d for d in far if d > near]
                found.append(torch.relu(margin + near - (min(beyond) if beyond else max(far))))
            elif collapse:
                found.append(margin + near)
    return found


@pytest.mark.parametrize("margin", [0.3, 2.0])
@pytest.mark.parametrize("absent", ["skip", "collapse"])
@pytest.mark.parametrize("pairs", ["all", "positives"])
def test_is_its_definition(margin: float, absent: str, pairs: str) -> None:
    space, target = problem()
    told = loss(space, target, margin=margin, absent=absent, pairs=pairs)
    truth = slow(space, target, margin, absent == "collapse", pairs == "positives")
    assert told.item() == pytest.approx(truth.item(), abs=1e-6)
    (mine,), (true,) = torch.autograd.grad(told, space), torch.autograd.grad(truth, space)
    torch.testing.assert_close(mine, true, atol=1e-6, rtol=0)
    assert true.abs().max() > 1e-3


def distances(space: Tensor) -> Tensor:
    unit = torch.nn.functional.normalize(space.detach(), dim=2).transpose(0, 1)
    return (2 - 2 * unit @ unit.mT).clamp(min=0)


def test_the_form_for_a_gpu_is_the_same() -> None:
    space, target = problem(40)
    known = ~target.isnan().T
    values = Values((target == 1).T, (target == 0).T, known)
    for mine, other in zip(
        slopes(distances(space), values, 0.7), slopes_in_torch(distances(space), values, 0.7), strict=True
    ):
        torch.testing.assert_close(mine, other, atol=1e-6, rtol=0)
        assert other.any()


def test_equal_distances_are_not_farther() -> None:
    """Two identical records of other values: the negative must be strictly farther than the positive."""
    at = torch.tensor([0.0, 1.0, 1.0, 2.5])
    space = torch.stack([at.cos(), at.sin()], 1)[:, None].requires_grad_()
    target = torch.tensor([[1.0], [1.0], [0.0], [0.0]])
    told = loss(space, target, margin=0.5)
    assert told.item() == pytest.approx(slow(space, target, 0.5, False, False).item(), abs=1e-6)


def test_nothing_to_compare_is_zero_with_a_gradient() -> None:
    space, _ = problem(4)
    for target in (torch.zeros(4, 6), torch.full((4, 6), torch.nan)):
        value = loss(space, target)
        value.backward()
        assert value.item() == 0
    assert space.grad is not None and not space.grad.any()


def test_absent_labels_collapse_as_published() -> None:
    space, _ = problem(4)
    told = loss(space, torch.zeros(4, 6), absent="collapse")
    pairs = distances(space)[:, ~torch.eye(4, dtype=torch.bool)]
    assert told.item() == pytest.approx(2 + pairs.mean().item(), abs=1e-6)


def test_one_record_and_one_label() -> None:
    """A batch of one has no pair; one label works."""
    space, target = problem()
    assert loss(space[:1], target[:1]).item() == 0
    assert loss(space[:, 3:4], target[:, 3:4]).item() > 0


def test_a_loss_with_separated_values_is_zero_and_drawn_by_learning() -> None:
    _, target = problem(16)
    target = target[:, 2:4]
    space = torch.randn(16, 2, 4, requires_grad=True)
    learner = torch.optim.Adam([space], 0.1)
    first = loss(space, target, margin=1.0).item()
    for _ in range(100):
        learner.zero_grad()
        loss(space, target, margin=1.0).backward()
        learner.step()
    assert loss(space, target, margin=1.0).item() < 0.05 * first


def test_a_margin_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="margin above 0"):
        parts.build("losses", {"name": "label_triplet", "margin": 0.0})
