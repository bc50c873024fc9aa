"""Turn the user's own copy of a published checkpoint into a run folder that others can start from."""

import platform
import re
import shlex
import struct
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, serialization

from einthoven import recipe as recipes
from einthoven.assemble import network
from einthoven.checkpoint import fill, save_weights
from einthoven.data.files import checksum, one_line, write_json, write_text
from einthoven.data.task import UNLABELLED
from einthoven.foreign import DATA, PUBLISHED, Misfit, Published, Weights
from einthoven.parts import build, hint
from einthoven.plan import table_of
from einthoven.results import PACKAGES, git_state, installed
from einthoven.types import Backbone, Method

REFUSAL: type[Exception] = vars(serialization)["pickle"].UnpicklingError  # what `weights_only` raises
BROKEN = (REFUSAL, SafetensorError, RuntimeError, ValueError, LookupError, EOFError, OSError, TypeError)
SPOILT = (AttributeError, AssertionError, struct.error)  # how a damaged pickle may end, too
FILES = ("environment.json", "LICENCE.txt", "weights.safetensors", "recipe.toml", "results.json")
NOBODY = {"records": 0, "patients": 0}


def convert(which: str, file: Path, out: Path, *, tell: Callable[[str], None] = print) -> Path:
    """Write a run folder with the weights of a published encoder; return it.

    `which` is st-mem or ecg-jepa, `file` the checkpoint as its authors gave it out (.pth, or .safetensors).
    Nothing in it is executed. `tell` gets the licence before anything is written.
    """
    if which not in PUBLISHED:
        raise ValueError(f"Nothing to convert is named {which!r}: {known()}.{hint(which, PUBLISHED)}")
    model = PUBLISHED[which]
    refuse_taken(out)
    told = opened(file)
    try:
        weights = weights_in(told, model)
        encoder = model.kept(weights)
        made = recipe_of(model, model.size(encoder))
        with torch.device("meta"):  # names and shapes alone: a file may claim any width
            ours: Backbone = build("backbones", made["backbone"], wants=model.signal)
        translated = model.translate(encoder, ours.state_dict())
    except Misfit as wrong:
        raise ValueError(
            f"{file} is not the encoder of {model.title} as published: {wrong}. Known: {known()}."
        ) from wrong
    method, _ = network(made, model.signal, 0, 0)
    fill(method.backbone, translated, file)
    for line in (*licence(model), *left_out(weights, encoder)):
        tell(line)
    write(out, made, method, model, {"command": command(which, file, out)} | origin(model, file))
    return out


def known() -> str:
    """List what can be converted."""
    return ", ".join(PUBLISHED)


def opened(file: Path) -> Any:
    """Read a checkpoint without executing anything in it."""
    if not file.is_file():
        raise ValueError(f"No checkpoint at {file}: download it from its authors first.")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pickle's protocol: every tensor is checked below
            return torch.load(file, map_location="cpu", weights_only=True)
    except PermissionError as refused:
        raise ValueError(f"{file} may not be read: allow it, or download it again.") from refused
    except (*BROKEN, *SPOILT) as broken:
        if code := re.search(r"GLOBAL (\S+)", str(broken)):
            raise ValueError(
                f"{file} is a pickle that names code ({code[1]}), which loading would run: refused. If you "
                "trust it, save its weights alone as .safetensors elsewhere, and convert these."
            ) from broken
        if file.suffix == ".safetensors":
            raise ValueError(f"{file} is damaged: download it again.") from broken
        raise ValueError(
            f"{file} is damaged, or a pickle that PyTorch does not load safely: download it again, or "
            "convert it to .safetensors."
        ) from broken


def weights_in(told: Any, model: Published) -> Weights:
    """Return the weights as float32: an entry of the checkpoint, or all that there is."""
    held = told.get(model.entry) if isinstance(told, Mapping) and model.entry in told else told
    if not isinstance(held, Mapping) or not held or not all(isinstance(x, Tensor) for x in held.values()):
        entries = ", ".join(map(str, told)) if isinstance(told, Mapping) else type(told).__name__
        raise Misfit(f"it has no weights under {model.entry!r} (it holds {entries[:100] or 'nothing'})")
    for name, value in held.items():
        if value.layout is not torch.strided or not value.is_floating_point() or value.is_meta:
            raise Misfit(f"{str(name)!r} is not of plain numbers")
        if value.untyped_storage().nbytes() < value.nbytes:  # a stride of 0 claims any size
            raise Misfit(f"{str(name)!r} has fewer numbers than its shape says")
    return {str(name): value.detach().float() for name, value in held.items()}


def recipe_of(model: Published, size: tuple[int, int, int]) -> dict[str, Any]:
    """Describe the encoder as a recipe: what reads it, and nothing that learns."""
    backbone = {"name": "vit", "size": list(size), **model.table}
    made = {"seed": 0, "signal": table_of(model.signal), "backbone": backbone}
    return made | {"method": {"name": "encoder"}, "train": {}}


def licence(model: Published) -> tuple[str, ...]:
    """Say whose the weights are, and what may be done with them."""
    return (
        f"These weights are {model.title}'s ({model.source}), not einthoven's. Licence: {model.licence}.",
        f"By its authors they were learned from {DATA}, without labels: test on other ECGs.",
    )


def left_out(weights: Weights, encoder: Weights) -> list[str]:
    """Say that a checkpoint holds more than the encoder."""
    more = len(weights) - len(encoder)
    return [f"The decoder is left out ({more} tensors): {len(encoder)} are the encoder's."] if more else []


def command(which: str, file: Path, out: Path) -> str:
    """Return the command that makes this folder again."""
    return shlex.join(["einthoven", "convert", which, str(file), "--out", str(out)])


def origin(model: Published, file: Path) -> dict[str, Any]:
    """Say where the weights come from; the data are no store of this machine, so no patient is known."""
    digest = checksum(file)
    told = {
        "title": model.title,
        "source": model.source,
        "licence": model.licence,
        "mismatch": model.mismatch,
    }
    return {
        "origin": told | {"data": DATA, "file": file.name, "sha256": digest},
        "store": {
            "path": str(file),
            "title": f"{DATA}, by the authors of {model.title}",
            "source": f"published {model.title}",
            "synthetic": False,
            "fingerprint": digest[:12],
            "leads": list(model.signal.leads),
            "hertz": model.signal.hertz,
            "seconds": 10.0,
            "patients_named": False,
        },
    }


def refuse_taken(out: Path) -> None:
    """Refuse a folder that holds anything but what a stopped conversion left."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: choose another --out.")
    stopped = {*FILES[:-1], *(f".{name}.partial" for name in FILES)}
    if out.is_dir() and any(file.name not in stopped for file in out.iterdir()):
        raise ValueError(f"{out} is not empty: choose another --out.")


def write(out: Path, made: dict[str, Any], method: Method, model: Published, told: dict[str, Any]) -> None:
    """Write the folder; its last file says that it is whole."""
    with one_line(out):
        out.mkdir(parents=True, exist_ok=True)
    versions = {"python": platform.python_version()} | {p: installed(p) for p in PACKAGES}
    about = {"versions": versions, "git": git_state(), "seed": 0, "device": "cpu", "seconds": {}}
    write_json(out / "environment.json", about | {"machine": platform.machine()} | told)
    write_text(out / "LICENCE.txt", "\n".join(filter(None, (*licence(model), model.mismatch))) + "\n")
    save_weights(method, out / "weights.safetensors")
    write_text(out / "recipe.toml", recipes.written(made))
    task: dict[str, Any] = {"name": UNLABELLED.name, "kind": UNLABELLED.kind, "labels": [], "unit": None}
    weights = sum(weight.numel() for weight in method.parameters())
    results = {"format": 1, "task": task, "split": "ECG", "left_out": {}, "thresholds": {}, "rows": []}
    results |= {"model": {"backbone": "vit", "head": "", "parameters": weights, "steps": 0}, "examples": []}
    results["counts"] = dict.fromkeys(("train", "validation", "test"), NOBODY)
    write_json(out / "results.json", results)
