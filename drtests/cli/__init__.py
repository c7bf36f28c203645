"""The command line: the same thing as pytest, for people who do not think in pytest."""
