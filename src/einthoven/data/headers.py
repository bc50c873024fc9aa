"""What all sources of WFDB headers share: how a record is called."""

from functools import cached_property
from pathlib import Path

from einthoven.ecg import Source


class Headers(Source):
    """Records in or below a folder, each with a header; a subclass finds and reads them."""

    path: Path
    records: tuple[str, ...]  # from `path`, without suffix

    def __len__(self) -> int:
        return len(self.records)

    def label(self, index: int) -> str:
        """Name a record by its path."""
        return self.records[index]

    def record_id(self, index: int) -> str:
        """Return a record's name, or its path where two records share a name."""
        name = self.records[index]
        return name.rpartition("/")[2] if self.short else name

    @cached_property
    def short(self) -> bool:
        """Say whether a record's name is enough to know it by."""
        return len({name.rpartition("/")[2] for name in self.records}) == len(self.records)
