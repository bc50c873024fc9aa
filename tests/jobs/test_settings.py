"""Losses that wait for their output, frozen parts, rates that grow along a network."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from einthoven import parts
from einthoven.assemble import network
from einthoven.ecg import Signal
from einthoven.loop import Learner, Schedule, fit, optimizer
from einthoven.settings import Settings, discriminative, freeze
from einthoven.types import Batch, Method

TRIPLET = {"name": "label_triplet", "weight": 0.1}
RECIPE: dict[str, Any] = {
    "backbone": {"name": "resnet1d_wang", "width": 8},
    "head": {"name": "linear"},
    "loss": [{"name": "bce"}, TRIPLET | {"optional": True}],
}


def made(**tables: Any) -> tuple[Method, Settings]:
    return network(RECIPE | tables, Signal(seconds=0.5), 3, 0)


def batch(records: int = 8) -> Batch:
    rows = torch.arange(records)
    target = (torch.rand(records, 3) < 0.5).float()
    return Batch(ecg=torch.randn(records, 12, 50), row=rows, patient=rows, target=target)


def test_the_head_is_the_only_difference() -> None:
    plain, decoupled = made()[0](batch()), made(head={"name": "decoupled"})[0](batch())
    assert set(plain) == {"loss", "loss/bce"}
    assert set(decoupled) == {"loss", "loss/bce", "loss/label_triplet"}
    sums = decoupled["loss/bce"] + 0.1 * decoupled["loss/label_triplet"]
    torch.testing.assert_close(decoupled["loss"], sums)


def test_a_triplet_for_a_head_without_embeddings_is_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"'label_triplet' reads 'label_embedding', but the heads of this recipe give "
        r"features, logits: choose head decoupled; or leave the loss out, or say optional = true",
    ):
        made(loss=[{"name": "bce"}, TRIPLET])
    with pytest.raises(ValueError, match="reads 'label_embedding'"):
        made(head={"name": "decoupled", "decoupled": False}, loss=[{"name": "bce"}, TRIPLET])
    with pytest.raises(ValueError, match="Only a loss can be optional; 'linear' cannot"):
        made(head={"name": "linear", "optional": True})


def test_freezing_all_but_the_norms() -> None:
    """As the benchmark freezes a body: its batch norms still learn, weights and statistics."""
    method, _ = made(backbone={"name": "resnet1d_wang", "width": 8, "freeze": "except-norms"})
    before = {k: v.clone() for k, v in method.backbone.state_dict().items()}
    learner = Learner(method, Schedule(steps=2, batch=8))
    for _ in fit(method, learner, [batch(), batch()]):
        pass
    norms = {name for name, layer in method.backbone.named_modules() if isinstance(layer, nn.BatchNorm2d)}
    for name, value in method.backbone.state_dict().items():
        assert value.equal(before[name]) != (name.rpartition(".")[0] in norms), name
    with pytest.raises(ValueError, match="freeze of 'x' is true, false or 'except-norms'; got 'some'"):
        freeze(nn.Linear(1, 1), "some", "x")


@pytest.mark.parametrize("name", parts.names("backbones"))
def test_rates_grow_along_every_network(name: str) -> None:
    """In the order in which the signal meets the stages, by one factor, from the first rate to the last."""
    backbone = parts.build("backbones", {"name": name}, wants=Signal(seconds=2.5)).eval()
    rates = discriminative(backbone, [1e-4, 1e-2], name)
    assert rates[0] == (backbone, 1e-2)
    met: list[nn.Module] = []
    for stage, _ in rates[1:]:
        stage.register_forward_hook(lambda layer, *_: met.append(layer))
    backbone(torch.randn(2, 12, 250))
    assert met == [stage for stage, _ in rates[1:]]
    steps = [rate for _, rate in rates[1:]]
    assert len(steps) > 1 or name.startswith("lstm") or not [*backbone.parameters()]
    if steps:
        assert steps[0] == pytest.approx(1e-4) and steps[-1] == pytest.approx(1e-2)
    assert all(b / a == pytest.approx(steps[1] / steps[0]) for a, b in pairwise(steps))


def test_rates_that_are_none() -> None:
    backbone = parts.build("backbones", {"name": "resnet1d_wang", "width": 8})
    for wrong in (0, [1e-3], [1e-3, 0], "fast", True):
        with pytest.raises(ValueError, match="lr of 'x' is a number above 0, or two"):
            discriminative(backbone, wrong, "x")


def test_every_weight_learns_at_the_rate_of_its_stage() -> None:
    method, settings = made(backbone={"name": "xresnet1d101", "blocks": [1, 1, 1, 1], "lr": [1e-4, 1e-2]})
    names = {id(module): name for name, module in method.named_modules()}
    rates = {names[id(part)]: rate for part, rate in settings.rates}
    groups = optimizer(method, Schedule(lr=0.5), rates).param_groups
    rate = {id(weight): group["lr"] for group in groups for weight in group["params"]}
    assert rate[id(method.heads.heads[0].layers[2].weight)] == 0.5
    assert rate[id(method.backbone.body[0][0].weight)] == pytest.approx(1e-4)
    assert rate[id(method.backbone.body[-1].body[0][0].weight)] == pytest.approx(1e-2)
    assert len({round(value, 9) for value in rate.values()}) == 8


def test_a_rate_of_the_whole_method() -> None:
    method, settings = made(method={"name": "direct", "lr": 0.25})
    names = {id(module): name for name, module in method.named_modules()}
    groups = optimizer(method, Schedule(lr=0.5), {names[id(part)]: rate for part, rate in settings.rates})
    assert [group["lr"] for group in groups.param_groups] == [0.25]


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"head": {"name": "linear", "start": 3}}, "start of 'linear' is the folder of a run; got 3"),
        ({"loss": {"name": "bce", "optional": "no"}}, "optional of 'bce' is true or false; got 'no'"),
        ({"loss": {"name": "bce", "weight": "x"}}, "weight of 'bce' is a number; got 'x'"),
        ({"loss": [TRIPLET | {"optional": True}]}, "No loss of this recipe takes part"),
        ({"loss": {"name": 3}}, "A table of losses needs a name"),
        ({"loss": {"name": "torch.nn:BCELoss"}}, "must be a subclass of einthoven.types.Loss"),
        ({"head": {"name": "torch.nn:Identity"}}, "must be a subclass of einthoven.types.Head"),
        ({"head": [{"name": "linear"}, {"name": "decoupled"}]}, "Two heads give logits"),
        ({"head": {"name": "decoupled", "size": 0}}, "needs size from 1"),
        ({"head": {"name": "decoupled", "dropout": 1.0}}, "0 <= dropout < 0.99, got 8 and 1"),
        ({"head": {"name": "decoupled", "pool": []}}, "A pool needs a name"),
        ({"backbone": {"name": "inception1d", "groups": 0}}, "groups from 1, got 0"),
    ],
)
def test_one_line_for_what_cannot_be(tables: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        made(**tables)
