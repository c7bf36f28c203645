"""Contract suites: what every adapter of a seam must pass. For authors of adapters; needs pytest."""
