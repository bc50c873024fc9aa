"""A small perceptron on ready features: what the benchmark puts on its wavelet statistics."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from einthoven.evaluate.probe import standardised


class Examples(NamedTuple):
    """Features of some records and what is true of them; NaN: unknown."""

    x: Float[np.ndarray, "record feature"]
    truth: Float[np.ndarray, "record label"]


class Known(NamedTuple):
    """Examples as tensors; targets that are unknown are zero and do not count."""

    x: Float[Tensor, "record feature"]
    target: Float[Tensor, "record label"]
    counts: Float[Tensor, "record label"]

    @staticmethod
    def of(x: Float[np.ndarray, "record feature"], target: Float[np.ndarray, "record label"]) -> "Known":
        """Copy from arrays."""
        known = torch.from_numpy(~np.isnan(target)).float()
        return Known(torch.from_numpy(x).float(), torch.from_numpy(np.nan_to_num(target)).float(), known)


def perceptron(
    train: Examples,
    validation: Examples,
    test: Float[np.ndarray, "test feature"],
    *,
    numbers: bool = False,
    hidden: int = 128,
    epochs: int = 30,
    seed: int = 0,
) -> Float[np.ndarray, "test label"]:
    """Return probabilities of the test records, one sigmoid a label, or `numbers` in their own unit.

    One hidden layer of ReLUs, dropout 0.25, Adamax, batches of 128; the weights answer that had the
    least validation loss. Torch's global generator is as before.
    """
    x = standardised(train.x, validation.x, test)
    unit = level_and_spread(train.truth) if numbers else (np.zeros(1), np.ones(1))
    folds = [Known.of(x[i], (fold.truth - unit[0]) / unit[1]) for i, fold in enumerate((train, validation))]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would touch the GPU's as well
        network = nn.Sequential(
            nn.Linear(train.x.shape[1], hidden),
            nn.ReLU(),
            nn.Dropout(0.25),
            nn.Linear(hidden, train.truth.shape[1]),
        )
        fit(network, folds[0], folds[1], numbers=numbers, epochs=epochs)
    with torch.no_grad():
        answer = network(torch.from_numpy(x[2]).float())
    found = (answer if numbers else answer.sigmoid()).double().numpy()
    return np.asarray(found * unit[1] + unit[0])


def fit(network: nn.Module, train: Known, validation: Known, *, numbers: bool, epochs: int) -> None:
    """Train in place and leave the best weights, ready to answer."""
    adamax, least, best = torch.optim.Adamax(network.parameters(), lr=2e-3), np.inf, network.state_dict()
    for _ in range(epochs):
        network.train()
        for batch in batches(train):
            adamax.zero_grad()
            loss(network, batch, numbers).backward()
            adamax.step()
        network.eval()
        with torch.no_grad():
            now = float(loss(network, validation, numbers))
        if now <= least:
            least, best = now, {name: weight.clone() for name, weight in network.state_dict().items()}
    network.load_state_dict(best)


def batches(train: Known, size: int = 128) -> Iterator[Known]:
    """Shuffle, and yield parts."""
    for part in torch.randperm(len(train.x)).split(size):
        yield Known(*(each[part] for each in train))


def loss(network: nn.Module, some: Known, numbers: bool) -> Float[Tensor, ""]:
    """Average the cross entropy, or the squared error, over the targets that are known."""
    score = F.mse_loss if numbers else F.binary_cross_entropy_with_logits
    each = score(network(some.x), some.target, reduction="none")
    return (each * some.counts).sum() / some.counts.sum().clamp(min=1)


def level_and_spread(
    truth: Float[np.ndarray, "record label"],
) -> tuple[Float[np.ndarray, " label"], Float[np.ndarray, " label"]]:
    """Return mean and sd of what is known of each column; 1 where nothing varies."""
    known = ~np.isnan(truth)
    count = np.maximum(known.sum(0), 1)
    level = np.where(known, truth, 0).sum(0) / count
    sd = np.sqrt(np.where(known, (truth - level) ** 2, 0).sum(0) / count)
    return level, np.where(sd > 0, sd, 1.0)
