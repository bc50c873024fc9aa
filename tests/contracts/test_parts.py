"""Finding and building parts: one clear line for every mistake."""

import sys
from collections.abc import Mapping
from types import ModuleType

import pytest
import torch

from einthoven import parts
from einthoven.ecg import Signal
from einthoven.types import Backbone, Head, Loss, Tokens


class Tiny(Backbone):
    """A backbone outside the package."""

    def __init__(self, wants: Signal, *, width: int = 3):
        super().__init__()
        self.wants, self.dim = wants, width

    def forward(self, ecg: torch.Tensor, leads: torch.Tensor | None = None) -> Tokens:
        return Tokens(self.admit(ecg, leads)[:, : self.dim].transpose(1, 2))


class Nested(Loss):
    """A loss that owns parts."""

    def __init__(
        self,
        *,
        inner: Loss | None = None,
        others: tuple[Head, ...] = (),
        told: Mapping[str, float] | None = None,
    ):
        super().__init__()
        self.inner, self.others, self.told = inner, list(others), told

    def forward(self, outputs: object, batch: object) -> torch.Tensor:
        raise AssertionError


class Needy(Head):
    """Needs what nobody offers, or a backbone."""

    def __init__(self, backbone: Backbone, codebook: int):
        super().__init__()

    def forward(self, tokens: Tokens) -> dict[str, torch.Tensor]:
        raise AssertionError


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("my_lab")
    module.Tiny, module.Nested, module.Needy = Tiny, Nested, Needy  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_lab", module)


@pytest.mark.parametrize("kind", parts.KINDS)
def test_every_file_of_a_kind_exports_one_part_of_that_kind(kind: str) -> None:
    assert parts.names(kind)
    for name in parts.names(kind):
        assert parts.find(kind, name).kind == kind
        assert (parts.find(kind, name).__doc__ or "").strip()


@pytest.mark.parametrize("kind", [kind for kind in parts.KINDS if kind != "sources"])
def test_a_part_is_final(kind: str) -> None:
    """Only abstract ancestors: parts vary by an argument or by wrapping, never by subclassing."""
    for name in parts.names(kind):
        for ancestor in parts.find(kind, name).__mro__[1:]:
            if ancestor.__module__.startswith("einthoven"):
                assert ancestor.__module__ == "einthoven.types"


@pytest.mark.parametrize("kind", [kind for kind in parts.KINDS if kind != "sources"])
def test_options_stand_after_the_star_with_a_default(kind: str) -> None:
    """Only a part that a part owns has none: nobody else can choose a loss's miner."""
    for name in parts.names(kind):
        _, options = parts.signature(parts.find(kind, name))
        plain = [option for option in options.values() if not hasattr(option.annotation, "kind")]
        assert all(option.default is not option.empty for option in plain)


def test_unknown_names_and_options_are_one_line_with_a_hint() -> None:
    with pytest.raises(ValueError, match="No backbones part 'xresnet101'.*Did you mean 'xresnet1d101'"):
        parts.build("backbones", {"name": "xresnet101"})
    with pytest.raises(
        ValueError, match="'resnet1d_wang' has no option 'widht'. Known: width. Did you mean 'width'"
    ):
        parts.build("backbones", {"name": "resnet1d_wang", "widht": 3})
    with pytest.raises(ValueError, match="'bce' has no option 'x'. It has none"):
        parts.build("losses", {"name": "bce", "x": 1})
    with pytest.raises(ValueError, match="No kind of part 'backbone'.*Did you mean 'backbones'"):
        parts.names("backbone")
    with pytest.raises(ValueError, match="needs a name. Known: angular, bce"):
        parts.build("losses", {})


def test_what_stands_before_the_star_cannot_be_set_by_a_recipe() -> None:
    with pytest.raises(ValueError, match="no option 'labels'"):
        parts.build("heads", {"name": "linear", "labels": 3}, dim=4, labels=2)
    with pytest.raises(ValueError, match="needs 'labels', which this recipe does not provide"):
        parts.build("heads", {"name": "linear"}, dim=4)


def test_numbers_are_numbers() -> None:
    with pytest.raises(ValueError, match="'width' is int; got 'wide'"):
        parts.build("backbones", {"name": "resnet1d_wang", "width": "wide"})


def test_a_part_from_outside() -> None:
    made = parts.build("backbones", {"name": "my_lab:Tiny", "width": 5})
    assert made.dim == 5
    assert made(torch.zeros(2, 12, 1000)).values.shape == (2, 1000, 5)
    with pytest.raises(ValueError, match="cannot import 'nobody'"):
        parts.find("backbones", "nobody:Tiny")
    with pytest.raises(ValueError, match="'my_lab' has no 'Huge'"):
        parts.find("backbones", "my_lab:Huge")


def test_a_part_may_own_parts() -> None:
    table = {"name": "my_lab:Nested", "inner": {"name": "huber", "delta": 2.0}}
    table["others"] = [{"name": "project", "size": 3}, {"name": "linear"}]
    made = parts.build("losses", table, dim=4, labels=2)
    assert made.inner.delta == 2.0
    assert [type(other).__name__ for other in made.others] == ["Project", "Linear"]
    with pytest.raises(ValueError, match="'huber' has no option 'dleta'"):
        parts.build("losses", {"name": "my_lab:Nested", "inner": {"name": "huber", "dleta": 2}})
    with pytest.raises(ValueError, match="'inner' is a table with a name; got 'huber'"):
        parts.build("losses", {"name": "my_lab:Nested", "inner": "huber"})
    assert parts.build("losses", {"name": "my_lab:Nested"}).inner is None


def test_an_option_may_be_a_table_of_plain_values() -> None:
    made = parts.build("losses", {"name": "my_lab:Nested", "told": {"m": 0.4}})
    assert made.told == {"m": 0.4}
    with pytest.raises(ValueError, match="'told' is .*; got 3"):
        parts.build("losses", {"name": "my_lab:Nested", "told": 3})


def test_an_offer_of_the_wrong_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a Backbone; Linear is none"):
        parts.Builder({"backbone": torch.nn.Linear(1, 1), "codebook": 1}).build(
            "heads", {"name": "my_lab:Needy"}
        )


def test_the_four_words_of_the_house_are_no_options() -> None:
    assert parts.build("losses", {"name": "bce", "weight": 0.5, "lr": 1e-3, "freeze": True, "start": "x"})


def test_plain_things_are_called_with_a_table() -> None:
    assert parts.call(Signal, {"scale": [0.0, 1.0]}, where="signal").scale == (0.0, 1.0)
    with pytest.raises(ValueError, match=r"\[signal\] has no option 'second'.*Did you mean 'seconds'"):
        parts.call(Signal, {"second": 2.5}, where="signal")
    with pytest.raises(ValueError, match="'avr' is not one of.*Did you mean 'aVR'"):
        parts.call(Signal, {"leads": ["I", "avr"]}, where="signal")
    with pytest.raises(ValueError, match="band"):
        parts.call(Signal, {"band": [0.5, 60]}, where="signal")
    with pytest.raises(ValueError, match=r"\[signal\] scale is Union|scale is .*; got 'record'"):
        parts.call(Signal, {"scale": "record"}, where="signal")
