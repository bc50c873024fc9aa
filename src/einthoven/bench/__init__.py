"""The bench: many runs of a grid, and the table that compares them."""

from einthoven.bench.asked import Cell
from einthoven.bench.grid import Grid, read_grid
from einthoven.bench.runner import Standing, bench

__all__ = ["Cell", "Grid", "Standing", "bench", "read_grid"]
