"""Carries a drill out and journals it. Knows nothing of pytest, nor of any particular engine, host or check."""
