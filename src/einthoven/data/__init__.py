"""From files to batches: sources, the store, tasks, splits, crops, the loader."""
