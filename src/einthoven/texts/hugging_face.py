"""Any text encoder in the layout of Hugging Face, from a folder on this machine: Med-CPT, ClinicalBERT ..."""

import json
from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor

from einthoven.language.ngrams import words
from einthoven.layers.pool import mean
from einthoven.layers.ragged import alike, padded, whole
from einthoven.layers.remembered import Remembered
from einthoven.types import Text, Tokens

__all__ = ["HuggingFace"]

TOGETHER = 2048  # word-pieces encoded at a time
WIDTHS = ("hidden_size", "d_model", "dim")  # what a configuration may call the width of a token
MATTERS = (".json", ".model", ".safetensors", ".txt")
BLOCK = 2**24  # bytes


class HuggingFace(Text):
    """One token per report, of length 1: the mean of its word-pieces, or their first; or one per word-piece.

    `path` is a folder with config.json, a tokenizer and *.safetensors; nothing is downloaded, and no code in
    it is run. The model is frozen and not saved with a run; what it says of a text is remembered. A
    report is cut after `longest` word-pieces.
    """

    here: Tensor

    def __init__(
        self,
        corpus: Sequence[str] = (),
        shelf: Path | None = None,
        *,
        path: str = "",
        per: Literal["mean", "first", "piece"] = "mean",
        longest: int = 256,
        precision: Literal["bf16", "fp32"] = "fp32",
    ):
        super().__init__()
        if longest < 3:
            raise ValueError(f"Text 'hugging_face' needs longest from 3, got {longest}.")
        self.dim, self.folder = width(path), Path(path)
        self.per, self.longest, self.precision = per, longest, precision
        self.register_buffer("here", torch.zeros(0), persistent=False)  # knows the device
        self.remembered = Remembered(self.vectors, self.dim, self.fingerprint, shelf, corpus)

    def forward(self, texts: Sequence[str]) -> Tokens:
        """Encode reports."""
        return padded(self.remembered(texts), self.dim, self.here.device)

    @cached_property
    def fingerprint(self) -> str:
        """Name the files and the options."""
        return f"hugging_face-1-{self.per}-{self.longest}-{self.precision}-{contents(self.folder)}"

    @cached_property
    def loaded(self) -> tuple[Any, Any]:
        """Load the tokenizer and the model: when the first unknown text comes."""
        transformers, trust = library(), {"local_files_only": True, "trust_remote_code": False}
        safe = trust | {"use_safetensors": True, "output_loading_info": True}
        try:
            splitter = transformers.AutoTokenizer.from_pretrained(self.folder, **trust)
            with torch.random.fork_rng(devices=[]):  # what it draws is no part of a training
                model, info = transformers.AutoModel.from_pretrained(self.folder, **safe)
        except (OSError, RuntimeError, SafetensorError, ValueError) as wrong:
            said = " ".join(str(wrong).split())
            raise ValueError(f"Text 'hugging_face' cannot load {self.folder}: {said}") from wrong
        if len(splitter) <= len(splitter.all_special_ids):  # what the library makes of missing files
            raise ValueError(f"The tokenizer in {self.folder} knows no words: is tokenizer.json missing?")
        unread = {"pooler", "decoder"} if model.config.is_encoder_decoder else {"pooler"}
        if drawn := [name for name in info["missing_keys"] if not set(name.split(".")) & unread]:
            raise ValueError(
                f"{self.folder} lacks {len(drawn)} weights of its model, {min(drawn)!r} among them."
            )
        if model.config.is_encoder_decoder:
            model = model.get_encoder()
        return splitter, model.eval()

    @torch.no_grad()
    def vectors(self, texts: Sequence[str]) -> list[Float[np.ndarray, "_ dim"]]:
        """Encode texts, those of like length together."""
        splitter, model = self.loaded
        model, device = model.to(self.here.device), self.here.device
        lengths = [min(len(text), self.longest) if words(text) else 0 for text in texts]
        found = [np.zeros((0, self.dim), np.float32)] * len(texts)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            for some in alike(lengths, TOGETHER):
                asked = [whole(texts[i]) for i in some]
                pieces = splitter(
                    asked, padding=True, truncation=True, max_length=self.longest, return_tensors="pt"
                ).to(device)
                values = model(**pieces).last_hidden_state.float()
                real = pieces["attention_mask"].bool()
                for i, rows in zip(some, self.pooled(Tokens(values, real)), strict=True):
                    found[i] = rows
        return found

    def pooled(self, tokens: Tokens) -> list[Float[np.ndarray, "_ dim"]]:
        """Return the tokens of each text as the options want them."""
        assert tokens.real is not None
        if self.per == "piece":
            return [v[there].cpu().numpy() for v, there in zip(tokens.values, tokens.real, strict=True)]
        first = tokens.real.int().argmax(1)[:, None, None].expand(-1, 1, self.dim)
        one = mean(tokens) if self.per == "mean" else tokens.values.gather(1, first)[:, 0]
        return list(F.normalize(one, dim=1)[:, None].cpu().numpy())


def library() -> Any:
    """Import the library that knows the layout."""
    try:
        import transformers
    except ImportError as missing:
        raise ValueError("Text 'hugging_face' needs: pip install 'einthoven[text-hf]'") from missing
    return transformers


def width(path: str) -> int:
    """Read how wide a token is; the folder must have what is needed, and weights that are safe to read."""
    library()
    file = Path(path) / "config.json"
    if not path or not file.is_file() or not any(Path(path).glob("*.safetensors")):
        raise ValueError(
            "Text 'hugging_face' needs `path`, a folder with config.json, a tokenizer and *.safetensors; "
            f"{path!r} is none."
        )
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        return next(int(said[name]) for name in WIDTHS if name in said)
    except (ValueError, StopIteration) as broken:
        raise ValueError(f"{file} does not say how wide a token is ({', '.join(WIDTHS)}).") from broken


def contents(folder: Path) -> str:
    """Name what a model is made of by its bytes."""
    said = blake2b(digest_size=8)
    for path in sorted(path for path in folder.iterdir() if path.suffix in MATTERS):
        said.update(path.name.encode())
        with open(path, "rb") as file:
            while block := file.read(BLOCK):
                said.update(block)
    return said.hexdigest()
