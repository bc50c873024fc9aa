"""What must never stand in the repository: patients, paths of one machine, code that hides faults."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TEXT = {
    ".py",
    ".toml",
    ".md",
    ".txt",
    ".yml",
    ".yaml",
    ".sh",
    ".cfg",
    ".ini",
    ".html",
    ".css",
    ".js",
    ".svg",
    "",
}
# Written in halves, so that this file passes its own test.
MACHINE = tuple(f"/{folder}/" for folder in ("work", "root", "home", "Users"))
REGISTRIES = ("pypi" + ".org", "python" + "hosted.org", "npm" + "js.org", "index" + "-url", "find" + "-links")
PIPES = "src/einthoven/data/workers.py"  # pickles from a process to its own child, never from a file
RUNS_DATA = {"eval", "exec", "__import__"}
RUNS_DATA_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}


@pytest.fixture(scope="module")
def tracked(root: Path) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    return [root / name for name in listed.stdout.split("\0") if name and (root / name).is_file()]


@pytest.fixture(scope="module")
def texts(tracked: list[Path]) -> dict[Path, str]:
    return {path: path.read_text(encoding="utf-8") for path in tracked if path.suffix in TEXT}


@pytest.fixture(scope="module")
def trees(root: Path) -> dict[str, ast.Module]:
    files = (root / "src").rglob("*.py")
    return {str(path.relative_to(root)): ast.parse(path.read_text(encoding="utf-8")) for path in files}


def refuse(root: Path, *names: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(Path(__file__).parents[2] / "scripts/refuse_data.py"), *names]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_no_file_holds_data_or_weights_or_is_large(root: Path) -> None:
    found = refuse(root)
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize(
    "name",
    [
        *(
            "ecg/00001_lr.hea",
            "a.DAT",
            "x.npy",
            "model.safetensors",
            "ptbxl_database.csv",
            "tests/patients.csv",
        ),
        *("clinic.csv", "labels.TSV", "runs/one/report.html", "page.html", "ecg.scp"),
        *("a.zip", "b.tar.gz", "c.tar", "d.tgz", "e.7z"),
    ],
)
def test_the_hook_refuses_data(name: str, tmp_path: Path) -> None:
    found = refuse(tmp_path, "fine.py", name)
    assert found.returncode == 1
    assert found.stderr.startswith(f"{name} must not enter git: ")
    assert found.stderr.count("\n") == 1


def test_the_hook_refuses_what_is_large_or_secret(tmp_path: Path) -> None:
    (tmp_path / "large.svg").write_bytes(bytes(500_001))
    (tmp_path / "key.txt").write_text("-----BEGIN OPENSSH PRIVATE" + " KEY-----")
    found = refuse(tmp_path, "large.svg", "key.txt")
    assert found.returncode == 1
    assert "500 kB" in found.stderr
    assert "private key" in found.stderr


def test_the_hook_lets_golden_arrays_and_code_pass(tmp_path: Path) -> None:
    fine = ("tests/golden/published.npz", "tests/golden/x.csv", "src/x.py", "docs/patients.md")
    assert refuse(tmp_path, *fine, "src/einthoven/report/page.html").returncode == 0


def test_the_demo_takes_folders_of_one_name_for_two(root: Path, tmp_path: Path) -> None:
    program = tmp_path / "repository/.venv/bin/einthoven"
    for folder in (program.parent, tmp_path / "repository/scripts", tmp_path / "a/ptb", tmp_path / "b/ptb"):
        folder.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    script = tmp_path / "repository/scripts/demo.sh"
    script.write_text((root / "scripts/demo.sh").read_text(encoding="utf-8"), encoding="utf-8")

    def demo(*data: str) -> list[list[str]]:
        done = subprocess.run(
            ["sh", str(script), *data], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return [line.split() for line in done.stdout.splitlines() if line.startswith(("import", "train"))]

    one, again, other, made_up = demo("a/ptb"), demo(f"{tmp_path}/a/ptb/"), demo("b/ptb"), demo()
    assert one == again and [line[0] for line in one] == ["import", "train"] and one[1][-1] == "--resume"
    for (_, _, _, store, *_), (*_, data, _, run, _) in (one, other, made_up):
        assert store == data
        if Path(run).name != "demo-synthetic":
            assert "ptb-" in store and "ptb-" in run
        (tmp_path / "repository" / run).mkdir(parents=True)
        (tmp_path / "repository" / run / "report.html").touch()
    assert {one[0][3], one[1][-2]}.isdisjoint({other[0][3], other[1][-2]})
    assert demo("a/ptb") == one  # an earlier report is no reason to leave the training out


def test_no_text_names_a_path_of_one_machine(texts: dict[Path, str], root: Path) -> None:
    found = [
        f"{p.relative_to(root)}: {folder}"
        for p, text in texts.items()
        for folder in MACHINE
        if folder in text
    ]
    assert found == []


def test_no_text_names_the_host_of_a_registry(texts: dict[Path, str], root: Path) -> None:
    found = [
        f"{p.relative_to(root)}: {host}" for p, text in texts.items() for host in REGISTRIES if host in text
    ]
    assert found == []


def broad(tree: ast.Module) -> Iterator[int]:
    """Lines that catch everything and never let go; to tidy up or look and raise again is fine."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "everything"
            raises = any(isinstance(step, ast.Raise) and not step.exc for step in ast.walk(node))
            if caught in ("everything", "Exception", "BaseException") and not raises:
                yield node.lineno


def test_no_handler_swallows_everything(trees: dict[str, ast.Module]) -> None:
    assert [f"{name}:{line}" for name, tree in trees.items() for line in broad(tree)] == []


def running_data(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RUNS_DATA:
            yield f"{node.lineno} {node.func.id}()"
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            if name.split(".")[0] in RUNS_DATA_MODULES:
                yield f"{node.lineno} import {name}"
        allows = isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "weights_only")
        if allows and not (
            isinstance(node.value, ast.Constant) and node.value.value is (node.arg == "weights_only")
        ):
            yield f"{node.value.lineno} {node.arg}"


def test_nothing_read_from_disk_can_run_code(trees: dict[str, ast.Module]) -> None:
    found = [f"{name}:{what}" for name, tree in trees.items() if name != PIPES for what in running_data(tree)]
    assert found == []


def test_annotations_can_be_read_by_the_shape_hook(trees: dict[str, ast.Module]) -> None:
    later = [
        name for name, tree in trees.items() if "from __future__ import annotations" in ast.unparse(tree)
    ]
    assert later == []


def test_no_two_test_files_share_a_name(root: Path) -> None:
    names = [path.name for path in (root / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names)), "pytest imports test files by their name"


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "eval('1')",
        "np.load(f, allow_pickle=True)",
        "torch.load(f, weights_only=no)",
    ],
)
def test_this_guard_would_notice(code: str) -> None:
    assert list(running_data(ast.parse(code)))


def test_this_guard_would_notice_a_broad_handler() -> None:
    assert list(broad(ast.parse("try:\n    x\nexcept Exception:\n    pass"))) == [3]
    assert list(broad(ast.parse("try:\n    x\nexcept BaseException:\n    tidy()\n    raise"))) == []
    assert list(broad(ast.parse("try:\n    x\nexcept (ValueError, OSError):\n    pass"))) == []
