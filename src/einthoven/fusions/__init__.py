"""Parts that put a report beside an ECG: one file each."""
