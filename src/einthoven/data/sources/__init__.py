"""One file, one layout of ECG files: the file is the registration."""
