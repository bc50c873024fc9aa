"""What distances between raw ECGs are made of: warping, compiled and for GPUs, bounds, search, memory."""
