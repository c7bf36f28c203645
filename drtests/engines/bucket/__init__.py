"""A bucket as it was at a moment, out of its versions."""
