"""Metric learning that makes all ECGs alike says so: on validation, by the spread of the embeddings."""

import numpy as np
import pytest
import torch

from einthoven import parts
from einthoven.ecg import Signal
from einthoven.layers.several import Heads, Losses
from einthoven.methods.direct import Direct
from einthoven.types import Batch


def learner(head: str = "project", *, hardest: bool = True) -> Direct:
    """A small network; its loss is a triplet's where there is an embedding."""
    torch.manual_seed(0)
    wants = Signal(hertz=100, seconds=0.5)
    backbone = parts.build("backbones", {"name": "resnet1d_wang", "width": 8}, wants=wants)
    if head == "linear":
        heads = Heads([parts.build("heads", {"name": "linear"}, dim=backbone.dim, labels=2)])
        return Direct(backbone, heads, Losses({"bce": parts.build("losses", {"name": "bce"})}, {"bce": 1.0}))
    heads = Heads([parts.build("heads", {"name": head, "size": 8}, dim=backbone.dim)])
    mined = {"name": "softhard", "hardest": hardest}
    loss = parts.build("losses", {"name": "triplet", "miner": mined})
    return Direct(backbone, heads, Losses({"triplet": loss}, {"triplet": 1.0}))


def batch(seed: int = 0) -> Batch:
    """ECGs of noise with labels of chance: nothing to learn but to lie together."""
    chance, row = torch.Generator().manual_seed(seed), torch.arange(32)
    target = torch.randint(2, (32, 2), generator=chance).float()
    return Batch(ecg=torch.randn(32, 12, 50, generator=chance), row=row, patient=row, target=target)


def told(method: Direct) -> dict[str, float]:
    with torch.no_grad():
        return {name: value.item() for name, value in method.eval()(batch()).items()}


def test_the_hardest_triplets_of_noise_collapse_and_are_reported() -> None:
    method = learner()
    assert not method.alarms(told(method))
    adamw = torch.optim.AdamW(method.parameters(), lr=1e-2)
    for step in range(1, 151):
        method.train()
        adamw.zero_grad()
        logs = method(batch(step))
        logs["loss"].backward()
        adamw.step()
    assert logs.keys() == {"loss", "loss/triplet"}  # the watch is for validation
    found = told(method)
    assert found["loss"] == pytest.approx(0.2, abs=0.02)  # the margin: all lie in one point
    (line,) = method.alarms(found)
    assert "every ECG looks alike" in line and "rank" not in line


def test_the_spread_is_that_of_the_embeddings() -> None:
    method = learner()
    embedding = method.eval().outputs(batch())["embedding"].detach().numpy()
    sd = np.sqrt(embedding.var(0).mean() / np.square(embedding).mean())
    assert told(method)["embedding_sd"] == pytest.approx(sd, rel=1e-5)


def test_one_direction_is_no_collapse_and_heads_without_embedding_have_no_watch() -> None:
    method = learner()
    assert not method.alarms({"embedding_sd": 0.9, "embedding_rank": 1.0})
    assert told(learner("linear")).keys() == {"loss", "loss/bce"}
    assert not method.alarms({"loss": 1.0})
