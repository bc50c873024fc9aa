"""What others have published on the full PTB-XL, and whether a store is that."""

import tomllib
from importlib.resources import files
from typing import NamedTuple

from einthoven.data.store import Store

# Records in each version of PTB-XL; 1.0.2 and 1.0.3 hold the same.
VERSIONS = {21_799: "PTB-XL 1.0.2 or 1.0.3", 21_837: "PTB-XL 1.0.1"}
FOLDS = set(range(1, 11))


class Published(NamedTuple):
    """A row of somebody else's table."""

    source: str
    name: str  # of what is no backbone of this package, else ""
    backbone: str
    head: str
    score: dict[str, float]
    spread: dict[str, float]


def full_version(store: Store) -> str | None:
    """Return which whole PTB-XL a store is, or None: nothing less compares with published figures."""
    if store.source != "ptbxl" or len(store) not in VERSIONS:
        return None
    folds = store.records["fold"]
    complete = not folds.isna().any() and set(folds.astype(int)) == FOLDS
    return VERSIONS[len(store)] if complete else None


def published() -> tuple[list[Published], dict[str, str]]:
    """Return all published rows, and what each source is."""
    told = tomllib.loads(files("einthoven.bench").joinpath("published.toml").read_text(encoding="utf-8"))
    rows = [
        Published(
            source["name"],
            row.get("name", ""),
            row.get("backbone", ""),
            row.get("head", ""),
            dict(zip(told["tasks"], row["score"], strict=True)),
            dict(zip(told["tasks"], row.get("spread", [float("nan")] * 6), strict=True)),
        )
        for source in told["source"]
        for row in source["rows"]
    ]
    return rows, {source["name"]: source["about"] for source in told["source"]}
