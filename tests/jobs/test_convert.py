"""Published encoders become run folders: weights as they were, nothing executed, and the jobs go on."""

import json
import math
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from cohorts import store_of
from einthoven import cli, foreign, python, recipe
from einthoven.adopt import convert
from einthoven.data.signal import filtered, resample
from einthoven.data.store import Store
from einthoven.ecg import LEADS, Signal
from einthoven.parts import build, call
from einthoven.predict import load
from einthoven.run import train
from einthoven.types import Backbone

Weights = dict[str, Tensor]
EIGHT = ["I", "II", "V1", "V2", "V3", "V4", "V5", "V6"]


def code(place: float, dim: int) -> list[float]:
    """A place's fixed code: sines, then cosines."""
    rates = [10000 ** (-2 * i / dim) for i in range(dim // 2)]
    return [math.sin(place * r) for r in rates] + [math.cos(place * r) for r in rates]


def linear(layer: str, out: int, into: int, *, bias: bool = True) -> Weights:
    made = {f"{layer}.weight": torch.randn(out, into) / into**0.5}
    return made | ({f"{layer}.bias": 0.1 * torch.randn(out)} if bias else {})


def norm(layer: str, dim: int) -> Weights:
    return {f"{layer}.weight": 1 + 0.2 * torch.randn(dim), f"{layer}.bias": 0.1 * torch.randn(dim)}


def st_mem_block(name: str, width: int) -> Weights:
    attention, wide = f"{name}.attn", f"{name}.ff"
    return {
        **norm(f"{attention}.norm", width),
        **linear(f"{attention}.fn.to_qkv", 3 * width, width),
        **linear(f"{attention}.fn.to_out.0", width, width),
        **norm(f"{wide}.norm", width),
        **linear(f"{wide}.fn.net.0", 4 * width, width),
        **linear(f"{wide}.fn.net.3", width, 4 * width),
    }


def st_mem(width: int = 128, depth: int = 2) -> Weights:
    """Random weights under the names of ST-MEM's encoder."""
    nowhere = [0.0] * width
    places = torch.tensor([nowhere, *(code(t, width) for t in range(30)), nowhere])[None]
    made = {"pos_embedding": places, "sep_embedding": torch.randn(width)}
    made |= {f"lead_embeddings.{i}": torch.randn(width) for i in range(12)}
    made |= norm("to_patch_embedding.1", 75) | linear("to_patch_embedding.2", width, 75)
    made |= norm("to_patch_embedding.3", width)
    for i in range(depth):
        made |= st_mem_block(f"block{i}", width)
    return made | norm("norm", width)


def st_mem_whole(encoder: Weights, width: int) -> Weights:
    """The encoder in the full model, with a decoder."""
    made = {f"encoder.{name}": value for name, value in encoder.items()}
    made |= {name: value for name, value in encoder.items() if name.startswith("to_patch_embedding.")}
    made |= linear("to_decoder_embedding", 64, width) | {"mask_embedding": torch.randn(1, 1, 64)}
    made["decoder_pos_embed"] = torch.randn(1, 32, 64)
    for i in range(4):
        made |= st_mem_block(f"decoder_blocks.{i}", 64)
    return made | norm("decoder_norm", 64) | linear("decoder_head", 75, 64)


def jepa(width: int = 64, depth: int = 2) -> Weights:
    """Random weights under the names of ECG-JEPA's encoder."""
    half = width // 2
    codes = [[*code(step, half), *code(lead, half)] for lead in range(8) for step in range(50)]
    made = {"pos_embed": torch.tensor(codes)} | linear("W_P", width, 50)
    for i in range(depth):
        name = f"encoder_blocks.blocks.{i}"
        made |= norm(f"{name}.norm1", width) | norm(f"{name}.norm2", width)
        made |= linear(f"{name}.attn.qkv", 3 * width, width, bias=False)
        made |= linear(f"{name}.attn.proj", width, width)
        made |= linear(f"{name}.mlp.fc1", 4 * width, width) | linear(f"{name}.mlp.fc2", width, 4 * width)
    return made | norm("norm", width)


# The two encoders once more, token by token, from the raw weights and in float64.


def normed(x: np.ndarray, w: dict[str, np.ndarray], layer: str) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return (
        centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * w[f"{layer}.weight"]
        + w[f"{layer}.bias"]
    )


def mapped(x: np.ndarray, w: dict[str, np.ndarray], layer: str) -> np.ndarray:
    return x @ w[f"{layer}.weight"].T + w.get(f"{layer}.bias", 0.0)


def attended(qkv: np.ndarray, heads: int, sees: np.ndarray) -> np.ndarray:
    """Every token asks those that it sees, head by head."""
    width = qkv.shape[1] // 3
    size, mixed = width // heads, np.zeros((len(qkv), width))
    for head in range(heads):
        q, k, v = (qkv[:, part * width + head * size : part * width + (head + 1) * size] for part in range(3))
        for token in range(len(qkv)):
            weight = np.exp(k[sees[token]] @ q[token] / math.sqrt(size))
            mixed[token, head * size : (head + 1) * size] = weight / weight.sum() @ v[sees[token]]
    return mixed


def gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def st_mem_tokens(weights: Weights, ecg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Patches (12 x 30, lead by lead) and SEPs (12 x 2) of one ECG (12, 2250)."""
    w = {name: value.double().numpy() for name, value in weights.items()}
    ecg = (ecg - ecg.mean()) / ecg.std()
    tokens: list[np.ndarray] = []
    for lead in range(12):
        sep = w["sep_embedding"] + w[f"lead_embeddings.{lead}"]
        tokens.append(sep)
        for step in range(30):
            patch = ecg[lead, 75 * step : 75 * step + 75]
            inner = mapped(normed(patch, w, "to_patch_embedding.1"), w, "to_patch_embedding.2")
            token = normed(inner, w, "to_patch_embedding.3")
            tokens.append(token + w["pos_embedding"][0, step + 1] + w[f"lead_embeddings.{lead}"])
        tokens.append(sep)
    x, every = np.stack(tokens), np.ones((384, 384), dtype=bool)
    for i in range(sum(name.endswith("ff.norm.bias") for name in w)):
        qkv = mapped(normed(x, w, f"block{i}.attn.norm"), w, f"block{i}.attn.fn.to_qkv")
        x = x + mapped(attended(qkv, x.shape[1] // 64, every), w, f"block{i}.attn.fn.to_out.0")
        wide = gelu(mapped(normed(x, w, f"block{i}.ff.norm"), w, f"block{i}.ff.fn.net.0"))
        x = x + mapped(wide, w, f"block{i}.ff.fn.net.3")
    x = normed(x, w, "norm").reshape(12, 32, -1)
    return x[:, 1:31].reshape(360, -1), x[:, [0, 31]].reshape(24, -1)


def jepa_tokens(weights: Weights, ecg: np.ndarray) -> np.ndarray:
    """Patches (8 x 50, lead by lead) of one ECG (8, 2500)."""
    w = {name: value.double().numpy() for name, value in weights.items()}
    x = np.stack([mapped(ecg[lead, 50 * t : 50 * t + 50], w, "W_P") for lead in range(8) for t in range(50)])
    lead, step = np.divmod(np.arange(400), 50)
    sees = (lead[:, None] == lead) | (step[:, None] == step)
    assert set(sees.sum(1)) == {57}
    for i in range(sum(name.endswith("norm2.bias") for name in w)):
        name = f"encoder_blocks.blocks.{i}"
        x = x + w["pos_embed"]
        qkv = mapped(normed(x, w, f"{name}.norm1"), w, f"{name}.attn.qkv")
        x = x + mapped(attended(qkv, 16, sees), w, f"{name}.attn.proj")
        wide = gelu(mapped(normed(x, w, f"{name}.norm2"), w, f"{name}.mlp.fc1"))
        x = x + mapped(wide, w, f"{name}.mlp.fc2")
    return normed(x, w, "norm")


def saved(path: Path, entry: str, weights: Weights, **others: Any) -> Path:
    torch.save({"epoch": 3, entry: weights} | others, path)
    return path


def quiet(line: str) -> None:
    """Say nothing."""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    others = {"optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}, "config": {"mode": "pretrain"}}
    return saved(tmp_path / "st_mem.pth", "model", st_mem(), scaler={"scale": 2.0}, **others)


def test_st_mem_gives_the_tokens_of_its_weights(tmp_path: Path) -> None:
    weights = st_mem()
    file = saved(tmp_path / "st_mem.pth", "model", weights, optimizer={}, scaler={}, config={"a": [1]})
    told: list[str] = []
    run = convert("st-mem", file, tmp_path / "run", tell=told.append)
    assert any("CC BY-NC 4.0" in line and "no commercial use" in line for line in told)
    assert all("\n" not in line for line in told) and len(told) == 2
    model = load(run, "cpu")
    assert model.wants.hertz == 250 and model.wants.seconds == 9 and model.wants.leads == LEADS
    assert model.wants.scale == "crop" and model.wants.band == (0.67, 40.0)
    ecg = torch.randn(2, 12, 2250) * torch.rand(2, 12, 1) + 0.1
    with torch.no_grad():
        tokens = model.method.backbone(ecg)
    assert tokens.special is not None and tokens.real is None
    for i in range(2):
        patches, seps = st_mem_tokens(weights, ecg[i].double().numpy())
        np.testing.assert_allclose(tokens.values[i].numpy(), patches, atol=1e-4)
        np.testing.assert_allclose(tokens.special[i].numpy(), seps, atol=1e-4)


def test_the_full_st_mem_is_its_encoder_without_the_decoder(tmp_path: Path) -> None:
    encoder, told = st_mem(64, 3), list[str]()
    one = convert("st-mem", saved(tmp_path / "a.pth", "model", encoder), tmp_path / "a", tell=quiet)
    whole = saved(tmp_path / "b.pth", "model", st_mem_whole(encoder, 64))
    other = convert("st-mem", whole, tmp_path / "b", tell=told.append)
    assert told[-1].startswith("The decoder is left out (62 tensors): 58 are the encoder's")
    a, b = (load(run, "cpu").method.state_dict() for run in (one, other))
    assert all(torch.equal(a[name], b[name]) for name in a | b)


def test_ecg_jepa_gives_the_tokens_of_its_weights(tmp_path: Path) -> None:
    weights, told = jepa(), list[str]()
    file = saved(tmp_path / "jepa.pth", "encoder", weights)
    run = convert("ecg-jepa", file, tmp_path / "run", tell=told.append)
    assert any("MIT" in line for line in told)
    model = load(run, "cpu")
    assert model.wants.leads == tuple(EIGHT) and model.wants.scale == "none" and model.wants.band is None
    ecg = torch.randn(2, 8, 2500)
    with torch.no_grad():
        tokens = model.method.backbone(ecg)
        mixed = torch.randn(2, 12, 2500)  # the eight in another order, among others
        order = torch.tensor([[11, 2, 10, 1, 9, 8, 7, 0, 6, 3, 4, 5]]).expand(2, -1)
        for place, lead in enumerate(order[0].tolist()):
            if LEADS[lead] in EIGHT:
                mixed[:, place] = ecg[:, EIGHT.index(LEADS[lead])]
        named = model.method.backbone(mixed, order)
    assert tokens.special is None
    torch.testing.assert_close(named.values, tokens.values)
    for i in range(2):
        expected = jepa_tokens(weights, ecg[i].double().numpy())
        np.testing.assert_allclose(tokens.values[i].numpy(), expected, atol=1e-4)


def test_the_codes_of_the_checkpoint_are_taken_and_go_on_behind_it(tmp_path: Path) -> None:
    weights = st_mem(64)
    for first in (0, 1):
        weights["pos_embedding"][0, 1:31] = torch.tensor([code(t + first, 64) for t in range(30)])
        file = saved(tmp_path / f"{first}.pth", "model", weights)
        backbone = load(convert("st-mem", file, tmp_path / f"{first}", tell=quiet), "cpu").method.backbone
        expected = torch.tensor([code(t + first, 64) for t in range(256)])
        torch.testing.assert_close(backbone.get_buffer("time")[:256], expected, atol=1e-4, rtol=0)
    weights["pos_embedding"][0, 1:31] = torch.randn(30, 64)  # of its own: taken as they are
    file = saved(tmp_path / "own.pth", "model", weights)
    backbone = load(convert("st-mem", file, tmp_path / "own", tell=quiet), "cpu").method.backbone
    assert torch.equal(backbone.get_buffer("time")[:30], weights["pos_embedding"][0, 1:31])


def test_the_names_and_shapes_are_the_published_ones() -> None:
    """Counts and shapes as published: 768 wide, 12 blocks; 12 heads of ST-MEM, 16 of ECG-JEPA."""
    with torch.device("meta"):
        ours: dict[str, Backbone] = {
            name: build("backbones", {"name": "vit", "size": size, **model.table}, wants=model.signal)
            for name, model in foreign.PUBLISHED.items()
            for size in [[768, 12, model.heads(768)]]
        }
    for name, count, heads in (("st-mem", 166, 12), ("ecg-jepa", 137, 16)):
        model = foreign.PUBLISHED[name]
        state = ours[name].state_dict()
        names = [*model.tables(768), *(theirs for theirs, _ in model.names(12, state))]
        assert len(names) == len(set(names)) == count and model.heads(768) == heads
    parameters = {name: sum(w.numel() for w in model.parameters()) for name, model in ours.items()}
    assert parameters["st-mem"] == pytest.approx(85.15e6, rel=1e-3)  # the places along a lead are no weights
    assert parameters["ecg-jepa"] + 400 * 768 == pytest.approx(85.37e6, rel=1e-3)
    assert len(st_mem(64, 12)) == 166 and len(st_mem_whole(st_mem(64, 12), 64)) == 228
    assert len(jepa(64, 12)) == 137


@pytest.mark.parametrize("which", ["st-mem", "ecg-jepa"])
def test_the_recipe_of_the_published_size_is_for_the_published_weights(which: str) -> None:
    """The same input, the same network: what is converted could have come from this recipe."""
    model = foreign.PUBLISHED[which]
    file = Path(__file__).parents[2] / "recipes/pretrain" / f"{which.replace('-', '_')}_base.toml"
    made = recipe.load(file)
    wants: Signal = call(Signal, made["signal"], where="signal")
    assert wants == model.signal
    published = {"name": "vit", "size": [768, 12, model.heads(768)], **model.table}
    with torch.device("meta"):
        ours = build("methods", made["method"], backbone=build("backbones", made["backbone"], wants=wants))
        theirs: Backbone = build("backbones", published, wants=model.signal)
    shapes = {name: weight.shape for name, weight in theirs.state_dict().items()}
    assert {name: weight.shape for name, weight in ours.backbone.state_dict().items()} == shapes
    blocks = ours.backbone.blocks.blocks
    assert len(blocks) == 12 and {block.attend.heads for block in blocks} == {model.heads(768)}
    alone = sum(w.numel() for w in ours.parameters()) - sum(w.numel() for w in ours.backbone.parameters())
    # ST-MEM's decoder; ECG-JEPA's teacher (its codes are no weights) and predictor (its codes neither)
    assert alone == pytest.approx({"st-mem": 3.4e6, "ecg-jepa": 85.06e6 + 11.25e6}[which], rel=0.02)


def test_weights_alone_and_half_precision_are_read(tmp_path: Path) -> None:
    weights = st_mem(64)
    save_file(weights, tmp_path / "plain.safetensors")
    torch.save({name: value.half() for name, value in weights.items()}, tmp_path / "half.pth")
    torch.save({"model": weights}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    runs = [
        convert("st-mem", tmp_path / name, tmp_path / name.split(".")[0], tell=quiet)
        for name in ("plain.safetensors", "half.pth", "old.pth")
    ]
    plain, half, old = (load(run, "cpu").method.state_dict() for run in runs)
    assert all(torch.equal(plain[name], old[name]) for name in plain)
    assert all((plain[name] - half[name]).abs().max() < 2e-3 for name in plain)
    assert plain["backbone.mark"].shape == (1, 1, 64)


class Evil:
    """What a pickle can do: call anything."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (self.path, "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_would_run_code_is_refused_and_runs_none(tmp_path: Path, zipped: bool) -> None:
    trap, file = tmp_path / "trap", tmp_path / "evil.pth"
    told = {"model": st_mem(64), "config": Evil(str(trap))}
    torch.save(told, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"evil.pth is a pickle that names code \(\S*open\).*\.safetensors"):
        convert("st-mem", file, tmp_path / "run", tell=quiet)
    assert not trap.exists() and not (tmp_path / "run").exists()


def test_files_that_are_no_checkpoint(tmp_path: Path, checkpoint: Path) -> None:
    whole = checkpoint.read_bytes()
    chance = np.random.default_rng(0)
    spoilt = [
        b"",
        b"PK\3\4",
        b"epoch,loss\n1,2\n",
        chance.bytes(500),
        whole[: len(whole) // 2],
        b"\x80\x02}q\0(X",
        b"\x80\x04.",
    ]
    spoilt += [b"\x80\x02" + chance.bytes(60) for _ in range(200)]
    for i, content in enumerate(spoilt):
        for suffix in ("pth", "safetensors"):
            file = tmp_path / f"{i}.{suffix}"
            file.write_bytes(content)
            with pytest.raises(ValueError, match=rf"{i}.{suffix} is ") as refused:
                convert("st-mem", file, tmp_path / "run", tell=quiet)
            assert "\n" not in str(refused.value)
            why = "" if suffix == "safetensors" else ", or a pickle that PyTorch does not load safely"
            assert str(refused.value).startswith(f"{file} is damaged{why}: download it again")
    with pytest.raises(ValueError, match=r"No checkpoint at .*none.pth: download it"):
        convert("st-mem", tmp_path / "none.pth", tmp_path / "run", tell=quiet)
    with pytest.raises(ValueError, match="'st-men': st-mem, ecg-jepa. Did you mean 'st-mem'"):
        convert("st-men", checkpoint, tmp_path / "run", tell=quiet)
    assert not (tmp_path / "run").exists()


def test_a_plain_pickle_is_not_loaded_and_the_remedy_is_told(tmp_path: Path) -> None:
    trap, file = tmp_path / "trap", tmp_path / "plain.pth"
    file.write_bytes(pickle.dumps({"model": Evil(str(trap))}))
    with pytest.raises(ValueError, match=r"a pickle that PyTorch does not load safely.*to \.safetensors\.$"):
        convert("st-mem", file, tmp_path / "run", tell=quiet)
    assert not trap.exists() and not (tmp_path / "run").exists()


def without(name: str) -> Callable[[Weights], Weights]:
    return lambda weights: {key: value for key, value in weights.items() if key != name}


def changed(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[Weights], Weights]:
    return lambda weights: weights | {name: change(weights[name])}


def spoilt(value: Tensor) -> Tensor:
    value = value.clone()
    value.view(-1)[-1] = torch.nan
    return value


def swapped(codes: Tensor) -> Tensor:
    """Step by step, not lead by lead."""
    return codes.unflatten(0, (8, 50)).transpose(0, 1).flatten(0, 1)


WRONG: list[tuple[str, Callable[[Weights], Any], str]] = [
    ("st-mem", without("pos_embedding"), "it has no 'pos_embedding'"),
    ("st-mem", without("lead_embeddings.11"), "it has no 'lead_embeddings.11'"),
    ("st-mem", without("block0.attn.norm.weight"), "it has no 'block0.attn.norm.weight'"),
    ("st-mem", without("block1.attn.norm.weight"), "'block1.attn.norm.bias' is no weight of it"),
    ("st-mem", without("block1.ff.fn.net.3.bias"), "it has no 'block1.ff.fn.net.3.bias'"),
    (
        "st-mem",
        changed("to_patch_embedding.1.weight", lambda x: x[:50]),
        r"'to_patch_embedding.1.weight' is of shape \(50,\), not \(75,\)",
    ),
    ("st-mem", changed("pos_embedding", lambda x: x[:, :22]), r"of shape \(1, 22, 128\), not \(1, 32, 128\)"),
    ("st-mem", changed("pos_embedding", lambda x: x + 1), "moves the SEP tokens"),
    ("st-mem", changed("pos_embedding", lambda x: x[..., :100]), "'pos_embedding' is of width 100"),
    ("st-mem", changed("pos_embedding", lambda x: x[0, 0, 0]), "'pos_embedding' is of width 0"),
    ("st-mem", changed("block0.attn.fn.to_qkv.bias", spoilt), "'block0.attn.fn.to_qkv.bias' holds NaN"),
    ("st-mem", changed("sep_embedding", lambda x: x / 0), "'sep_embedding' holds NaN or infinity"),
    ("st-mem", changed("norm.bias", lambda x: x.long()), "'norm.bias' is not of plain numbers"),
    ("st-mem", changed("norm.bias", lambda x: x.to_sparse()), "'norm.bias' is not of plain numbers"),
    (
        "st-mem",
        changed("norm.bias", lambda x: torch.ones(1).expand(128)),
        "'norm.bias' has fewer numbers than its",
    ),
    (  # a network of that width would take 442 GB
        "st-mem",
        changed("pos_embedding", lambda x: torch.zeros(1, 32, 192_000)),
        r"'sep_embedding' is of shape \(128,\), not \(192000,\)",
    ),
    (
        "ecg-jepa",
        changed("pos_embed", lambda x: torch.zeros(400, 51_200)),
        r"'W_P.weight' is of shape \(64, 50\), not \(51200, 50\)",
    ),
    ("st-mem", lambda w: w | linear("head", 5, 128), "'head.weight' is no weight of it"),
    (
        "st-mem",
        lambda w: st_mem_whole(w, 128) | linear("head", 5, 8),
        "'head.weight' is no weight of it",
    ),
    ("st-mem", lambda w: jepa(), "it has no 'pos_embedding'"),
    ("st-mem", lambda w: w | {"norm.bias": 3}, r"it has no weights under 'model' \(it holds epoch, model\)"),
    ("st-mem", lambda w: {}, "it has no weights under 'model'"),
    ("ecg-jepa", lambda w: st_mem(), "it has no 'pos_embed'"),
    ("ecg-jepa", without("W_P.bias"), "it has no 'W_P.bias'"),
    ("ecg-jepa", without("norm.bias"), "it has no 'norm.bias'"),
    ("ecg-jepa", changed("pos_embed", lambda x: x[:50]), r"of shape \(50, 64\), not \(400, 64\)"),
    ("ecg-jepa", changed("pos_embed", swapped), "no code of the time beside one of the lead"),
    ("ecg-jepa", changed("pos_embed", torch.rand_like), "no code of the time beside one of the lead"),
    (
        "ecg-jepa",
        lambda w: w | {"encoder_blocks.blocks.0.attn.qkv.bias": torch.zeros(192)},
        "'encoder_blocks.blocks.0.attn.qkv.bias' is no weight of it",
    ),
]


@pytest.mark.parametrize(("which", "change", "why"), WRONG)
def test_another_architecture_is_refused_with_what_does_not_fit(
    tmp_path: Path, which: str, change: Callable[[Weights], Any], why: str
) -> None:
    entry, made = ("model", st_mem(depth=2)) if which == "st-mem" else ("encoder", jepa())
    file = saved(tmp_path / "x.pth", entry, change(made))
    with pytest.raises(ValueError, match=why) as refused:
        convert(which, file, tmp_path / "run", tell=quiet)
    assert str(refused.value).startswith(f"{file} is not the encoder of ")
    assert "\n" not in str(refused.value) and not (tmp_path / "run").exists()


def test_one_model_for_the_other_is_refused(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="no weights under 'encoder'.*holds epoch, model, scaler, optimizer"):
        convert("ecg-jepa", checkpoint, tmp_path / "run", tell=quiet)


def test_a_taken_folder_is_refused_and_a_stopped_conversion_done_again(
    tmp_path: Path, checkpoint: Path
) -> None:
    run = convert("st-mem", checkpoint, tmp_path / "run", tell=quiet)
    with pytest.raises(ValueError, match="run is not empty: choose another --out"):
        convert("st-mem", checkpoint, run, tell=quiet)
    with pytest.raises(ValueError, match="is a file: choose another --out"):
        convert("st-mem", checkpoint, checkpoint, tell=quiet)
    (run / "results.json").unlink()
    (run / ".results.json.partial").touch()
    with pytest.raises(ValueError, match="has no results.json"):
        load(run)
    assert load(convert("st-mem", checkpoint, run, tell=quiet))


def test_the_licence_is_shown_before_anything_is_written(tmp_path: Path, checkpoint: Path) -> None:
    there: list[bool] = []
    run = convert(
        "st-mem", checkpoint, tmp_path / "run", tell=lambda _: there.append((tmp_path / "run").exists())
    )
    assert there == [False, False]
    assert "CC BY-NC 4.0" in (run / "LICENCE.txt").read_text()
    assert "average the tokens and then normalise" in (run / "LICENCE.txt").read_text()
    about = json.loads((run / "environment.json").read_text())
    assert about["origin"]["licence"].startswith("CC BY-NC 4.0") and len(about["origin"]["sha256"]) == 64


# The jobs that go on from it.


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Ten seconds at 100 Hz: the encoders read 250 Hz."""
    rows = [{"big": i % 2, "fold": 1 + i // 2 % 10, "patient": i} for i in range(20)]
    return store_of(tmp_path_factory.mktemp("store") / "store", rows, seconds=10.0, signal=True)


@pytest.fixture(scope="module", params=["st-mem", "ecg-jepa"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("converted")
    entry, weights = ("model", st_mem(64, 1)) if request.param == "st-mem" else ("encoder", jepa(64, 1))
    file = saved(folder / "x.pth", entry, weights)
    return convert(request.param, file, folder / "run", tell=quiet)


def test_a_probe_starts_from_it(store: Store, run: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "probe.toml"
    recipe.write_text(
        f'base = "{run / "recipe.toml"}"\n'
        '[task]\ncolumn = "big"\n'
        "[backbone]\nfreeze = true\n"
        '[method]\nname = "direct"\n'
        '[head]\nname = "probe"\n'
        '[loss]\nname = "bce"\n'
        '[train]\nsolver = "probe"\n'
        "[evaluate]\nresamples = 20\nrows = []\nexamples = 0\n"
    )
    probe = train(recipe, store.path, tmp_path / "probe", sets=[f"backbone.start={run}"], device="cpu")
    results = json.loads((probe / "results.json").read_text())
    area = results["test"]["auroc"]["macro"]["value"]
    # Lead I of the big is three times as large; but ST-MEM norms every patch.
    assert area == 1.0 if len(load(run).wants.leads) == 8 else 0 <= area <= 1
    begun, ended = load(run, "cpu").method.state_dict(), load(probe, "cpu").method.state_dict()
    assert all(torch.equal(begun[name], ended[name]) for name in begun)
    assert len(pd.read_parquet(probe / "patients.parquet")) == 20
    other = {"backbone": {"name": "vit"}, "head": {"name": "probe"}, "loss": {"name": "bce"}, "train": {}}
    wrong = other | {"task": {"column": "big"}, "evaluate": {"examples": 0}}
    with pytest.raises(ValueError, match=r"was learned with \[signal\] hertz = 250"):
        train(wrong, store.path, tmp_path / "wrong", sets=[f"backbone.start={run}"])


def test_all_of_it_can_be_tuned(store: Store, run: Path, tmp_path: Path) -> None:
    sets = [f"backbone.start={run}", "method.name=direct", "task.column=big", "head.name=linear"]
    sets += [
        "loss.name=bce",
        "train.steps=1",
        "train.batch=4",
        "evaluate={resamples=20, rows=[], examples=0}",
    ]
    tuned = train(run / "recipe.toml", store.path, tmp_path / "tuned", sets=sets, device="cpu")
    begun, ended = load(run, "cpu").method.state_dict(), load(tuned, "cpu").method.state_dict()
    learnt = {name for name, _ in load(run, "cpu").method.named_parameters()}
    assert {name for name in begun if not torch.equal(begun[name], ended[name])} == learnt


def test_it_is_judged_and_embeds(
    store: Store, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "probe", str(run), "--data", str(store.path), "--task", "big"]
    words += ["--set", "resamples=20"]
    monkeypatch.setattr(sys, "argv", ["einthoven", *words])
    cli.main()
    assert "this run" in capsys.readouterr().out
    figures = json.loads(next((run / "evaluate").glob("*.json")).read_text())
    rows = {(row["job"], row["figure"]): row["run"]["value"] for row in figures["rows"]}
    assert (
        rows["probe", "auroc"] == 1.0 if len(load(run).wants.leads) == 8 else 0 <= rows["probe", "auroc"] <= 1
    )


def test_it_embeds_as_its_weights_do_after_resampling_and_filtering(store: Store, run: Path) -> None:
    vectors = python.embed(run, store.path)
    assert vectors.shape == (20, 2 + 64)
    whole = resample(store.read(np.array([7])), 100.0, 250.0)[0].astype(np.float64)
    weights = torch.load(run.parent / "x.pth", weights_only=True)
    if "encoder" in weights:
        expected = jepa_tokens(weights["encoder"], whole[[LEADS.index(lead) for lead in EIGHT]]).mean(0)
    else:
        whole = filtered(whole, 250.0, (0.67, 40.0)).astype(np.float64)
        windows = [whole[:, start : start + 2250] for start in (0, 250)]
        expected = np.mean([st_mem_tokens(weights["model"], ecg)[0].mean(0) for ecg in windows], 0)
    np.testing.assert_allclose(vectors.iloc[7, 2:].to_numpy(float), expected, atol=1e-4)


def test_it_learns_nothing_by_itself_and_answers_nothing(store: Store, run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'encoder' learns nothing: choose .method. name = 'direct'"):
        train(run / "recipe.toml", store.path, tmp_path / "again", sets=["train.steps=1"], device="cpu")
    with pytest.raises(ValueError, match=r"takes no \[head\]"):
        train(run / "recipe.toml", store.path, tmp_path / "head", sets=["head.name=project"])
    with pytest.raises(ValueError, match="learned features alone"):
        load(run, "cpu").predict(np.ones((1, 12, 1000), np.float32), hertz=100)
    assert python.write_report(run).is_file()


def test_the_command_shows_the_licence_and_what_is_next(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["einthoven", "convert", "st-mem", str(checkpoint), "--out", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", words)
    cli.main()
    told = capsys.readouterr().out
    assert "CC BY-NC 4.0" in told and f"--start {tmp_path / 'run'}" in told
    monkeypatch.setattr(sys, "argv", ["einthoven", "show", str(tmp_path / "run")])
    cli.main()
    assert "features alone" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
