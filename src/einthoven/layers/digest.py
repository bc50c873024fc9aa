"""A short name for what a part would say."""

from hashlib import blake2b

from torch import nn


def digest(name: str, part: nn.Module, *options: object) -> str:
    """Name a part by its options and all that it learned or fitted."""
    said = blake2b(repr(options).encode(), digest_size=8)
    for key, value in part.state_dict().items():
        said.update(key.encode())
        said.update(value.detach().cpu().contiguous().numpy().data)
    return f"{name}-{said.hexdigest()}"
