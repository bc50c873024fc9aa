"""Parts that read reports: one file each."""
