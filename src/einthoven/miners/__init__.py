"""One file, one part: the file is the registration."""
