"""What a frozen encoder said of a text, so that a second epoch costs a look-up.

Kept in one file per encoder, memory-mapped: the vectors of each different text once.
"""

import json
import os
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from zlib import crc32

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

Vectors = Float[np.ndarray, "_ dim"]  # the tokens of one text
KEY = 16  # bytes
FEW = 256  # texts that are not worth writing yet


def key(text: str) -> bytes:
    """Name a text without telling it."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=KEY).digest()


class Remembered:
    """Vectors of texts by `encode`, which is asked once for each different text.

    `shelf` is the folder of the files, of which `fingerprint` names one; None: memory only. `corpus` is
    encoded first, all at once, when the first unknown text comes.
    """

    def __init__(
        self,
        encode: Callable[[Sequence[str]], Sequence[Vectors]],
        dim: int,
        fingerprint: str,
        shelf: Path | None = None,
        corpus: Sequence[str] = (),
    ):
        self.encode, self.dim, self.fingerprint = encode, dim, fingerprint
        self.path = None if shelf is None else shelf / f"{fingerprint}.safetensors"
        self.corpus = tuple(corpus)
        self.known: dict[bytes, Vectors] | None = None  # None: the file has not been looked at
        self.written = 0

    def __call__(self, texts: Sequence[str]) -> list[Vectors]:
        """Return the tokens of each text."""
        if self.known is None:
            self.known = {} if self.path is None else read(self.path, self.fingerprint, self.dim)
            self.written = len(self.known)
        keys = [key(text) for text in texts]
        if any(one not in self.known for one in keys):
            self.learn([*self.corpus, *texts])
            self.corpus = ()
        return [self.known[one] for one in keys]

    def learn(self, texts: Sequence[str]) -> None:
        """Encode what is not known, in an order of its own: the batches that come must not matter."""
        assert self.known is not None
        new = sorted({text for text in texts if key(text) not in self.known})
        self.known |= zip(map(key, new), self.encode(new), strict=True)
        if len(self.known) - self.written > max(FEW, self.written // 8) or (self.corpus and new):
            self.write()

    def write(self) -> None:
        """Put what is known on the shelf, beside what others have put there, unless it is full or shut."""
        assert self.known is not None
        if self.path is not None:
            there = read(self.path, self.fingerprint, self.dim)
            try:
                write(self.path, self.fingerprint, self.dim, there | self.known)
            except (OSError, SafetensorError):
                self.path = None  # go on in memory
            else:
                self.known = self.known | read(self.path, self.fingerprint, self.dim)
        self.written = len(self.known)


def write(path: Path, fingerprint: str, dim: int, known: dict[bytes, Vectors]) -> None:
    """Write a shelf's file: it is whole, or not there."""
    vectors = np.concatenate([np.zeros((0, dim), np.float32), *known.values()])
    arrays: dict[str, np.ndarray] = {
        "keys": np.frombuffer(b"".join(known), np.uint8).reshape(-1, KEY),
        "ends": np.cumsum([len(rows) for rows in known.values()], dtype=np.int64),
        "vectors": vectors,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        save_file(arrays, unfinished, {"fingerprint": fingerprint, "crc32": str(checksum(**arrays))})
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def read(path: Path, fingerprint: str, dim: int) -> dict[bytes, Vectors]:
    """Read a shelf's file, vectors as views of a map; nothing where it is lacking, damaged or another's."""
    try:
        with safe_open(path, "np") as file:
            said = file.metadata() or {}
            if said.get("fingerprint") != fingerprint or set(file.keys()) != {"keys", "ends", "vectors"}:
                return {}
            keys, ends = file.get_tensor("keys"), file.get_tensor("ends")
        vectors = mapped(path)
    except (OSError, SafetensorError):
        return {}
    if said.get("crc32") != str(checksum(keys, ends, vectors)) or vectors.shape[1:] != (dim,):
        return {}
    begins = [0, *ends[:-1].tolist()]
    return {
        one.tobytes(): vectors[begin:end] for one, begin, end in zip(keys, begins, ends.tolist(), strict=True)
    }


def checksum(keys: np.ndarray, ends: np.ndarray, vectors: np.ndarray) -> int:
    """Sum up all that a file holds."""
    return crc32(vectors.data, crc32(ends.data, crc32(keys.data)))


def mapped(path: Path) -> Float[np.ndarray, "token dim"]:
    """Map the tensor `vectors` of a file of safetensors: eight bytes of length, a header, the numbers."""
    with open(path, "rb") as raw:
        size = int.from_bytes(raw.read(8), "little")
        header = json.loads(raw.read(size))["vectors"]
    begin, end = header["data_offsets"]
    if begin == end:  # nothing can be mapped
        return np.zeros(header["shape"], np.float32)
    return np.memmap(path, np.float32, "r", 8 + size + begin, tuple(header["shape"]))
