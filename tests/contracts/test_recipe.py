"""Recipes: read, edited, checked and written back."""

import tomllib
from pathlib import Path

import pytest

from einthoven import recipe


def test_edits_reach_their_place() -> None:
    made = {"head": {"name": "linear"}, "loss": [{"name": "bce"}, {"name": "mse"}]}
    for change in (
        "head.name=project",
        "train.lr=1e-2",
        "loss.1.weight=0.5",
        "signal.scale=[0.0, 1.5]",
        "seed=3",
    ):
        recipe.edit(made, change)
    assert made["head"] == {"name": "project"} and made["train"] == {"lr": 0.01}
    assert made["loss"] == [{"name": "bce"}, {"name": "mse", "weight": 0.5}]
    assert made["signal"] == {"scale": [0.0, 1.5]} and made["seed"] == 3


def test_the_only_one_of_a_list_has_a_number_too() -> None:
    for change in ("loss.miner.name=n_pair", "loss.0.miner.name=n_pair"):
        made = {"loss": [{"name": "triplet", "miner": {"name": "semihard"}}]}
        recipe.edit(made, change)
        assert made == {"loss": [{"name": "triplet", "miner": {"name": "n_pair"}}]}
    with pytest.raises(ValueError, match="say which one, 0 to 0"):
        recipe.edit({"loss": [{"name": "triplet"}]}, "loss.1.weight=2")


@pytest.mark.parametrize("change", ["nothing", "=3", "loss.weight=1", "loss.5.weight=1", "seed.more=1"])
def test_edits_that_lead_nowhere(change: str) -> None:
    with pytest.raises(ValueError, match="--set"):
        recipe.edit({"seed": 0, "loss": [{"name": "bce"}, {"name": "mse"}]}, change)


def test_a_recipe_written_and_read_is_the_same(root: Path) -> None:
    for file in sorted((root / "recipes").rglob("*.toml")):
        if file.parent.name == "bench":
            continue  # grids of recipes, in a format of their own
        made = recipe.load(file)
        assert tomllib.loads(recipe.written(made)) == made


def test_one_line_for_a_bad_recipe(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    with pytest.raises(ValueError, match="No recipe at"):
        recipe.load(file)
    file.write_text("[backbone\n")
    with pytest.raises(ValueError, match=r"bad.toml is no TOML"):
        recipe.load(file)
    file.write_text("[backbone]\nname='x'\n[trian]\n")
    with pytest.raises(ValueError, match=r"unknown table \[trian\]. Did you mean 'train'"):
        recipe.load(file)
    file.write_text("[train]\nepochs = 1\n")
    with pytest.raises(ValueError, match=r"needs a table \[backbone\]"):
        recipe.load(file)
    file.write_text("train = 3\n[backbone]\nname='x'\n")
    with pytest.raises(ValueError, match=r"\[train\] is a table, got 3"):
        recipe.load(file)


def test_a_recipe_on_top_of_another(tmp_path: Path) -> None:
    """Tables are united key by key, the later file wins; lists and plain values are replaced."""
    (tmp_path / "base.toml").write_text(
        "seed = 1\n[backbone]\nname = 'a'\n[train]\nlr = 1.0\nepochs = 5\n[[loss]]\nname = 'x'\n"
    )
    (tmp_path / "deep").mkdir()
    deep = tmp_path / "deep/one.toml"
    deep.write_text(
        "base = '../base.toml'\n[backbone]\nname = 'b'\n[train]\nlr = 0.1\n[[loss]]\nname = 'y'\n"
    )
    assert recipe.load(deep, ["train.epochs=2"]) == {
        "seed": 1,
        "backbone": {"name": "b"},
        "train": {"lr": 0.1, "epochs": 2},
        "loss": [{"name": "y"}],
    }


def test_a_base_that_is_none(tmp_path: Path) -> None:
    file = tmp_path / "one.toml"
    file.write_text("base = 'gone.toml'\n")
    with pytest.raises(ValueError, match="No recipe at .*gone.toml"):
        recipe.load(file)
    file.write_text("base = 'one.toml'\n")
    with pytest.raises(ValueError, match="one.toml: base leads back to itself"):
        recipe.load(file)
    file.write_text("base = 3\n")
    with pytest.raises(ValueError, match="base is the name of a recipe, got 3"):
        recipe.load(file)
