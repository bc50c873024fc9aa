"""What a reader copies works: public names, code on pages, recipes."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
RECIPES = sorted(path for path in (ROOT / "recipes").rglob("*.toml") if path.parent.name != "bench")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.S | re.M)

each_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.relative_to(ROOT).as_posix())


def blocks(language: str) -> list[object]:
    """Every code block of a language on every page, each a test of its own."""
    return [
        pytest.param(code, id=f"{page.name}:{page.read_text()[: match.start()].count(chr(10)) + 1}")
        for page in PAGES
        for match in BLOCK.finditer(page.read_text(encoding="utf-8"))
        if match[1] == language and (code := match[2])
    ]


def test_all_lists_the_public_names() -> None:
    import einthoven

    tree = ast.parse((ROOT / "src/einthoven/__init__.py").read_text())
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    public = {name for name in defined if not name.startswith("_")}
    assert list(einthoven.__all__) == sorted(set(einthoven.__all__), key=str.lower)
    assert public <= set(einthoven.__all__)
    for name in einthoven.__all__:
        assert name == "__version__" or (getattr(einthoven, name).__doc__ or "").strip(), (
            f"{name} has no docstring"
        )


@pytest.mark.parametrize("code", blocks("python"))
def test_python_on_a_page_parses(code: str) -> None:
    ast.parse(code)


@pytest.mark.parametrize("code", blocks("toml"))
def test_toml_on_a_page_parses(code: str) -> None:
    assert tomllib.loads(code)


@pytest.mark.parametrize("code", blocks("sh") + blocks("console"))
def test_shell_on_a_page_parses(code: str) -> None:
    done = subprocess.run(["sh", "-n"], input=code, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def commands() -> set[str]:
    """Words that follow `einthoven` on a line of a shell block."""
    pages = [
        block for page in PAGES for block in BLOCK.findall(page.read_text()) if block[0] in ("sh", "console")
    ]
    return {
        word
        for _, code in pages
        for word in re.findall(r"^\s*(?:\S+ -m )?(?:\S+/)?einthoven ([a-z-]+)", code, re.M)
    }


def test_the_commands_on_the_pages_exist() -> None:
    import typer

    from einthoven.cli import app

    known = set(typer.main.get_command(app).commands)
    assert commands() - known == set()


def test_there_are_recipes() -> None:
    assert RECIPES


@each_recipe
def test_a_recipe_says_how_to_run_it_and_what_it_costs(recipe: Path) -> None:
    text = recipe.read_text(encoding="utf-8")
    header = "\n".join(line for line in text.split("\n\n")[0].splitlines() if line.startswith("#"))
    assert f"einthoven train {recipe.relative_to(ROOT).as_posix()}" in header
    assert re.search(r"^# ?cost:? \S", header, re.M | re.I), "the header says no cost"


@each_recipe
def test_a_recipe_names_parts_and_options_that_exist(recipe: Path) -> None:
    from einthoven import parts
    from einthoven.recipe import load

    table = load(recipe)
    folders = {"backbone": "backbones", "head": "heads", "loss": "losses", "augment": "augments"}
    folders |= {"sampler": "samplers", "method": "methods"}
    named = [(kind, t) for key, kind in folders.items() for t in as_list(table.get(key, []))]
    assert named
    for kind, part in named:
        options = parts.signature(parts.find(kind, part["name"]))[1]
        assert set(part) - {"name", *parts.OURS} <= set(options)


def as_list(tables: object) -> list[dict[str, object]]:
    """`[x]` and `[[x]]` read alike."""
    return tables if isinstance(tables, list) else [tables]


def test_the_version_is_said_once() -> None:
    import einthoven

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == einthoven.__version__


def test_python_older_than_ours_is_refused_in_one_line(tmp_path: Path) -> None:
    old = tmp_path / "python-old"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && { echo "Python 3.8.1"; exit 0; }\nexit 1\n')
    old.chmod(0o755)
    command = ["sh", str(ROOT / "scripts/install.sh"), str(old)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed" in done.stderr
    assert done.stderr.count("\n") == 1
    assert sys.version_info >= (3, 11)
