"""Save and load: tensors in safetensors, the rest in JSON. Nothing loaded from disk can run code."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from einthoven.data.files import new_file, write_text
from einthoven.ecg import Signal
from einthoven.loop import Learner
from einthoven.parts import call
from einthoven.types import Backbone, Method


def copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Bring tensors to the CPU, each in memory of its own (safetensors refuses to share)."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}


def save_tensors(state: dict[str, Tensor], path: Path, about: dict[str, str] | None = None) -> None:
    """Write tensors, whole or not at all."""
    with new_file(path) as file:
        file.write(save(copied(state), about))


def save_weights(method: Method, file: Path) -> None:
    """Write all parameters and buffers (but the `passing` ones), and the signal that the backbone reads."""
    save_tensors(method.state_dict(), file, {"signal": json.dumps(asdict(method.backbone.wants))})


def passing(method: Method) -> dict[str, Tensor]:
    """Return the buffers that are no weights (`persistent=False`): what a part remembers of its training."""
    weights = method.state_dict().keys()
    return {name: buffer for name, buffer in method.named_buffers() if name not in weights}


def read(file: Path) -> tuple[dict[str, Tensor], Signal]:
    """Read weights and the signal that they were learned on."""
    if not file.is_file():
        raise ValueError(f"{file} is not there: is the training finished? Resume it with --resume.")
    try:
        with safe_open(file, "pt") as handle:
            made = json.loads(handle.metadata()["signal"])
        tensors = load_file(file)
    except (SafetensorError, KeyError, TypeError) as broken:
        raise ValueError(f"{file} holds no weights of einthoven ({broken}); train the run again.") from broken
    signal: Signal = call(Signal, made, where=f"{file}: signal")
    return tensors, signal


def load_weights(method: Method, file: Path) -> None:
    """Fill a freshly built method; every weight must match, and so must the signal."""
    tensors, was = read(file)
    if was != method.backbone.wants:
        raise ValueError(f"{file} reads {was}; the recipe builds {method.backbone.wants}.")
    fill(method, tensors, file)


def fill(part: nn.Module, tensors: dict[str, Tensor], file: Path) -> None:
    """Load tensors into a module, or say what does not match."""
    try:
        part.load_state_dict(tensors)
    except RuntimeError as differs:
        first = str(differs).splitlines()[-1].strip()
        raise ValueError(f"{file} does not fit {type(part).__name__}: {first}") from differs


def signal_of(run: Path) -> Signal:
    """Return the signal that a run's weights were learned on."""
    return read(run / "weights.safetensors" if run.suffix != ".safetensors" else run)[1]


def load_part(part: nn.Module, prefix: str, run: Path) -> None:
    """Fill one part, say the backbone, from a run that may differ in everything else."""
    file = run / "weights.safetensors" if run.suffix != ".safetensors" else run
    tensors, was = read(file)
    if isinstance(part, Backbone):
        for name in part.bound:
            if getattr(was, name) != getattr(part.wants, name):
                raise ValueError(
                    f"{file} was learned with [signal] {name} = {getattr(was, name)}; "
                    f"this recipe has {getattr(part.wants, name)}. Say the same in the recipe."
                )
        if new := [lead for lead in part.wants.leads if lead not in was.leads]:
            raise ValueError(
                f"{file} has never seen {', '.join(new)}: say [signal] leads = {list(was.leads)}, "
                "or some of them."
            )
    mine = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    fill(part, mine, file)


def save_resume(folder: Path, step: int, method: Method, learner: Learner, told: dict[str, Any]) -> None:
    """Write what a run needs to go on after `step` steps; the latest whole one is kept."""
    now = folder / f"{step:08d}"
    shutil.rmtree(now, ignore_errors=True)
    now.mkdir(parents=True)
    save_weights(method, now / "weights.safetensors")
    state = learner.adamw.state_dict()
    slots = {f"{i}.{k}": v for i, slot in state["state"].items() for k, v in slot.items()}
    save_tensors(slots, now / "optimizer.safetensors")
    save_tensors(learner.average.kept, now / "average.safetensors")
    save_tensors(passing(method), now / "passing.safetensors")
    kept = {"step": step, "groups": state["param_groups"], "scaler": learner.scaler.state_dict()}
    write_text(now / "resume.json", json.dumps(kept | told))
    for old in steps_saved(folder)[:-1]:
        shutil.rmtree(old)


def steps_saved(folder: Path) -> list[Path]:
    """List the whole resume points of a run, oldest first."""
    return sorted(file.parent for file in folder.glob("*/resume.json"))


def load_resume(folder: Path, method: Method, learner: Learner) -> dict[str, Any]:
    """Read the latest resume point into freshly built parts; return what was told, with `step`."""
    now = steps_saved(folder)[-1]
    load_weights(method, now / "weights.safetensors")
    told: dict[str, Any] = json.loads((now / "resume.json").read_text(encoding="utf-8"))
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in load_file(now / "optimizer.safetensors").items():
        index, _, name = key.partition(".")
        slots.setdefault(int(index), {})[name] = value
    learner.adamw.load_state_dict({"state": slots, "param_groups": told.pop("groups")})
    learner.scaler.load_state_dict(told.pop("scaler"))
    for name, state in (("average", learner.average.kept), ("passing", passing(method))):
        kept = load_file(now / f"{name}.safetensors") if state else {}
        for key, value in state.items():
            value.copy_(kept[key])
    return told
