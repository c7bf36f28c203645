"""The demo: a small school that does not exist, its backups, and what drtests makes of them."""
