"""A table of labels, joined to the records of an import by their ids."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from einthoven.data import files
from einthoven.data.convert import Row, plain, tidy
from einthoven.data.tables import read_table


class Labels:
    """A table of what is known by record id, joined to the records: where it has a value, it wins."""

    def __init__(self, path: Path):
        from pandas import Series  # only where there is a table to read

        self.path = path
        table = read_table(path, key="record_id")
        self.hash = files.checksum(path)[:16]
        self.key = "record_id" if "record_id" in table else str(table.columns[0])
        if len(table.columns) < 2:
            raise ValueError(
                f"{path} has one column, {self.key[:60]!r}: a table of labels has an id and what is known "
                "of it, separated by commas, semicolons or tabs."
            )
        table = table[table[self.key].notna()].set_index(self.key)
        if not table.index.is_unique:
            twice = table.index[table.index.duplicated()][0]
            raise ValueError(f"{path}: {self.key} {twice!r} stands in two lines; keep one.")
        for name in table.columns.difference(["report", "patient_id", "age", "sex", "fold"]):
            if any(isinstance(cell, str) and ";" in cell for cell in table[name]):
                table[name] = Series(map(classes, table[name]), table.index, object)
        self.table: Any = table
        self.met = np.zeros(len(table), bool)
        for name, row in zip(table.index, self.rows(table), strict=True):
            try:
                tidy(row)
            except ValueError as wrong:
                raise ValueError(f"{path}: {self.key} {name!r}: {wrong}.") from wrong

    def rows(self, table: Any) -> Iterator[Row]:
        """Yield lines as plain values."""
        for values in table.itertuples(index=False, name=None):
            yield dict(zip(table.columns, values, strict=True))

    def join(self, rows: list[Row]) -> None:
        """Add what is known of these records."""
        where = self.table.index.get_indexer([row["record_id"] for row in rows])
        self.met[where[where >= 0]] = True
        met = [row for row, at in zip(rows, where, strict=True) if at >= 0]
        for row, said in zip(met, self.rows(self.table.iloc[where[where >= 0]]), strict=True):
            known = {name: value for name, value in said.items() if plain(value) is not None}
            row |= {name: value for name, value in tidy(known).items() if name in known and value is not None}

    def check(self, example: str) -> None:
        """Refuse a table that met no record, and say how much of it met none."""
        met = int(self.met.sum())
        if not met:
            raise ValueError(
                f"{self.path}: no {self.key} (such as {self.table.index[0]!r}) is a record id of this source "
                f"(such as {example!r})."
                if len(self.table)
                else f"{self.path} holds no line."
            )
        if unknown := len(self.table) - met:
            warnings.warn(
                f"{self.path}: {unknown:,} of {len(self.table):,} lines name no record of this source.",
                stacklevel=2,
            )


def classes(cell: Any) -> list[str] | None:
    """Split the labels of one record.

    >>> classes("MI; CD;")
    ['CD', 'MI']
    """
    return sorted({item.strip() for item in cell.split(";")} - {""}) if isinstance(cell, str) else None
