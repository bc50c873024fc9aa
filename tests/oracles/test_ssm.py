"""State spaces against their recurrence, step response and properties; the FFT against a matrix."""

import math

import pytest
import torch
from torch import Tensor

from einthoven import parts
from einthoven.ecg import Signal
from einthoven.layers.ssm import Convolution, StateSpace


def made(width: int = 5, state: int = 6, pace: float = 1.0) -> StateSpace:
    """Draw a layer in float64 whose oscillators all differ."""
    torch.manual_seed(3)
    layer = StateSpace(width, state=state, pace=pace).double()
    with torch.no_grad():
        layer.log_damping.add_(torch.rand(width, state // 2))
        layer.frequency.add_(torch.rand(width, state // 2))
    return layer


def noise(records: int = 2, time: int = 40, width: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(records, time, width, dtype=torch.float64, generator=generator)


def recurrence(layer: StateSpace, x: Tensor, direction: int) -> Tensor:
    """Step x' = A x + u through time, the input held over each sample; read 2 Re(C x)."""
    poles = -layer.log_damping.exp() + 1j * layer.frequency
    step = layer.pace * layer.log_step.exp()[:, None]
    carry = torch.exp(poles * step)
    enter = (carry - 1) / poles
    readout = torch.view_as_complex(layer.readout)[direction]
    state, heard = torch.zeros(len(x), *poles.shape, dtype=torch.complex128), []
    for now in range(x.shape[1]):
        state = carry * state + enter * x[:, now, :, None]
        heard.append(2 * (readout * state).sum(2).real)
    return torch.stack(heard, 1)


def test_convolution_is_the_recurrence_run_both_ways() -> None:
    layer, x = made(), noise()
    expected = recurrence(layer, x, 0) + recurrence(layer, x.flip(1), 1).flip(1) + layer.through * x
    torch.testing.assert_close(layer(x), expected, atol=1e-8, rtol=0)


def test_one_state_answers_a_step_as_its_equation_does() -> None:
    layer = made(width=1, state=2)
    with torch.no_grad():
        layer.log_damping.fill_(math.log(0.7))
        layer.frequency.zero_()
        layer.readout.copy_(torch.tensor([[[[0.5, 0.0]]], [[[0.0, 0.0]]]]))  # y = x, nothing backwards
        layer.through.zero_()
    seconds = torch.arange(1, 61, dtype=torch.float64) * layer.log_step.exp()
    solution = (1 - torch.exp(-0.7 * seconds)) / 0.7  # of x' = -0.7 x + 1, x(0) = 0
    step = layer(torch.ones(1, 60, 1, dtype=torch.float64))[0, :, 0]
    torch.testing.assert_close(step, solution, atol=1e-10, rtol=0)


@pytest.mark.parametrize("direction", [0, 1])
def test_each_half_looks_one_way(direction: int) -> None:
    layer, impulse = made(), torch.zeros(1, 40, 5, dtype=torch.float64)
    impulse[:, 25] = 1
    with torch.no_grad():
        layer.readout[1 - direction] = 0
    answer = layer(impulse)[0].abs()
    past, future = answer[:25], answer[26:]
    silent, speaks = (past, future) if direction == 0 else (future, past)
    assert silent.max() < 1e-12
    assert speaks.min(0).values.max() > 1e-6


def test_the_past_hears_of_the_future() -> None:
    layer, x = made(), noise()
    later = x.clone()
    later[:, -1] += 1
    assert (layer(later) - layer(x))[:, 0].abs().min() > 1e-6


def test_half_the_pace_is_the_same_system_sampled_twice_as_fast() -> None:
    slow, fast = made(pace=1.0), made(pace=0.5)
    x = noise()
    with torch.no_grad():  # forwards alone: backwards, a sample is held the other way
        for layer in (slow, fast):
            layer.readout[1] = 0
    twice = x.repeat_interleave(2, dim=1)
    heard = fast(twice)[:, 1::2]
    torch.testing.assert_close(heard, slow(x), atol=1e-10, rtol=0)


def test_silence_after_the_end_changes_nothing() -> None:
    layer, x = made(), noise()
    longer = torch.cat([x, torch.zeros_like(x)], 1)
    torch.testing.assert_close(layer(longer)[:, :40], layer(x), atol=1e-10, rtol=0)


@pytest.mark.parametrize("time", [1, 2, 7])
def test_fft_is_multiplication_by_a_matrix(time: int) -> None:
    layer, x = made(), noise(time=time)
    kernel = layer.kernel(time)
    lag = (torch.arange(time)[:, None] - torch.arange(time)) % (2 * time)
    expected = torch.einsum("wij,bjw->biw", kernel[:, lag], x)
    torch.testing.assert_close(layer(x), expected, atol=1e-10, rtol=0)


def test_derivatives_are_those_of_finite_differences() -> None:
    x, layer = noise(time=6, width=3).requires_grad_(), made(width=3, state=4)
    kernel = layer.kernel(6).detach().requires_grad_()
    assert torch.autograd.gradcheck(Convolution.apply, (x, kernel))
    weights = dict(layer.named_parameters())
    torch.autograd.gradcheck(
        lambda *new: torch.func.functional_call(layer, dict(zip(weights, new, strict=True)), (x,)),
        tuple(weights.values()),
    )


def test_begins_as_s4d_lin() -> None:
    layer = StateSpace(200, state=8)
    torch.testing.assert_close(layer.log_damping.exp(), torch.full((200, 4), 0.5))
    torch.testing.assert_close(layer.frequency[7], math.pi * torch.arange(4.0))
    steps = layer.log_step.exp()
    assert 1e-3 <= steps.min() < 2e-3 and 0.05 < steps.max() <= 0.1
    assert layer.readout.square().sum(3).mean().item() == pytest.approx(1, abs=0.1)


def test_keeps_its_precision_under_bfloat16() -> None:
    layer = StateSpace(5)
    x = noise().float()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(layer(x), layer.double()(x.double()).float(), atol=1e-4, rtol=0)
        assert layer.float()(x.bfloat16()).dtype == torch.float32


def test_the_network_learns_in_bfloat16() -> None:
    backbone = parts.build("backbones", {"name": "s4d", "width": 16}, wants=Signal(seconds=1))
    with torch.autocast("cpu", torch.bfloat16):
        backbone(torch.randn(2, 12, 100)).values.square().sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in backbone.parameters())


def test_dropout_takes_whole_channels_in_training_only() -> None:
    backbone = parts.build("backbones", {"name": "s4d", "dropout": 0.5}, wants=Signal(seconds=1))
    ecg, masks = torch.randn(3, 12, 100), []
    backbone.blocks[0].dropout.register_forward_hook(lambda layer, given, mask: masks.append(mask))
    backbone(ecg), backbone.eval()(ecg)
    assert masks[0].shape == (3, 1, 128)
    assert set(masks[0].unique().tolist()) == {0.0, 2.0}
    assert (masks[1] == 1).all()


@pytest.mark.parametrize("state", [0, 3])
def test_refuses_half_a_pair(state: int) -> None:
    with pytest.raises(ValueError, match="even number from 2"):
        StateSpace(4, state=state)


def test_the_same_weights_are_the_same_filters_at_another_rate() -> None:
    slow = parts.build("backbones", {"name": "s4d"}, wants=Signal(hertz=100, seconds=2.5)).eval()
    fast = parts.build("backbones", {"name": "s4d"}, wants=Signal(hertz=200, seconds=2.5)).eval()
    fast.load_state_dict(slow.state_dict())
    time = torch.arange(500) / 200
    wave = torch.sin(2 * torch.pi * time) * torch.exp(-((time - 1.2) ** 2) / 0.05)
    ecg = wave * torch.linspace(-1, 1, 12)[:, None]
    with torch.no_grad():
        expected = slow(ecg[None, :, ::2]).values
        got = fast(ecg[None]).values[:, ::2]
    assert (got - expected).square().mean() < 1e-3 * expected.square().mean()
