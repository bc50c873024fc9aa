"""Vectors of reports that somebody made elsewhere, looked up by the text."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Float, UInt8
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor

from einthoven.language.ngrams import words
from einthoven.layers.ragged import padded
from einthoven.layers.remembered import KEY, key
from einthoven.types import Text, Tokens

__all__ = ["Precomputed"]


class Precomputed(Text):
    """One token per report: its row in the file at `path`, an .npz or .safetensors with two arrays.

    `vectors` (text, dim) are numbers. `keys` (text, 16) are bytes, which tell no report: of each text as a
    model sees it (`language.views.seen`), `hashlib.blake2b(text.encode(), digest_size=16).digest()`.

    An `unknown` text is refused, or counts as missing. The file must have the `dim` that is said (0: any) and
    know some report of training; a run that was trained with one file does not take another.
    """

    made_for: Tensor

    def __init__(
        self,
        corpus: Sequence[str] = (),
        *,
        path: str = "",
        dim: int = 0,
        unknown: Literal["refuse", "missing"] = "refuse",
    ):
        super().__init__()
        self.path, self.unknown = path, unknown
        keys, self.vectors = read(path)
        self.dim = self.vectors.shape[1]
        if dim not in (0, self.dim):
            raise ValueError(f"{path} has vectors of {self.dim} numbers, and the recipe says dim = {dim}.")
        self.place = {one.tobytes(): row for row, one in enumerate(keys)}
        self.name = blake2b(keys.tobytes() + self.vectors.tobytes(), digest_size=8).digest()
        asked = {text for text in corpus if words(text)}
        if asked and not any(key(text) in self.place for text in asked):
            raise ValueError(
                f"{path} knows none of the {len(asked)} different reports of training: it was made for "
                "another store or [text] view, or of texts that were not normalised."
            )
        self.register_buffer("made_for", torch.tensor(list(self.name), dtype=torch.uint8))

    def forward(self, texts: Sequence[str]) -> Tokens:
        """Look reports up."""
        if bytes(self.made_for.tolist()) != self.name:
            raise ValueError(f"{self.path} is not the file that this run was trained with: give it that one.")
        return padded([self.found(text) for text in texts], self.dim, self.made_for.device)

    def found(self, text: str) -> Float[np.ndarray, "_ dim"]:
        """Return the vector of a text; none if it has no words, or is missing."""
        row = self.place.get(key(text)) if words(text) else None
        if row is None and words(text) and self.unknown == "refuse":
            raise ValueError(
                f"{self.path} has no vector of {text[:60]!r}: add it, or say [text] unknown = 'missing'."
            )
        return self.vectors[:0] if row is None else self.vectors[row : row + 1]

    def check(self, texts: Sequence[str]) -> None:
        """Refuse a file that lacks a text of this run."""
        for text in set(texts):
            self.found(text)

    @property
    def fingerprint(self) -> str:
        """Name the file's contents and the options."""
        return f"precomputed-1-{self.unknown}-{self.name.hex()}"


def read(path: str) -> tuple[UInt8[np.ndarray, "text byte"], Float[np.ndarray, "text dim"]]:
    """Read keys and vectors, or say what is wrong with the file."""
    if not path or not Path(path).is_file():
        raise ValueError(f"Text 'precomputed' needs `path`, an .npz or .safetensors: no file {path!r}.")
    try:
        arrays = load_file(path) if path.endswith(".safetensors") else unpacked(path)
    except (SafetensorError, BadZipFile, ValueError, EOFError, OSError) as damage:
        raise ValueError(f"{path} cannot be read ({damage}): make it again.") from damage
    for name, shape in (("keys", f"bytes (text, {KEY})"), ("vectors", "numbers (text, dim)")):
        if name not in arrays or arrays[name].ndim != 2:
            raise ValueError(f"{path} needs {name!r}, {shape}; it has {', '.join(arrays) or 'nothing'}.")
    keys, vectors = np.ascontiguousarray(arrays["keys"]), arrays["vectors"]
    if keys.dtype != np.uint8 or keys.shape != (len(vectors), KEY):
        raise ValueError(
            f"{path} needs {KEY} bytes in 'keys' for each of {len(vectors)} vectors; "
            f"it has {keys.dtype} {keys.shape}."
        )
    if vectors.dtype.kind != "f" or not np.isfinite(vectors).all():
        raise ValueError(f"{path} needs finite numbers in 'vectors': make it again.")
    return keys, vectors.astype(np.float32)


def unpacked(path: str) -> Mapping[str, np.ndarray]:
    """Read the arrays of an .npz; it may not hold objects, which could run code."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
