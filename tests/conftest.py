"""Plug-ins for our own tests. Loaded before pytest is configured, since testpaths names this folder."""

from __future__ import annotations

pytest_plugins = ["pytester", "tests.support.restic", "tests.support.restic_lab"]
