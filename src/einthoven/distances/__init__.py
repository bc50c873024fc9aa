"""Distances between raw ECGs: a module each."""
