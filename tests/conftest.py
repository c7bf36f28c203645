"""Plug-ins for our own tests. Loaded before pytest is configured, since testpaths names this folder."""

from __future__ import annotations

from hypothesis import settings

# How long an example takes says nothing of whether it is right.
settings.register_profile("drtests", deadline=None)
settings.load_profile("drtests")

pytest_plugins = [
    "pytester",
    "tests.support.ceph",
    "tests.support.mariadb",
    "tests.support.postgres",
    "tests.support.postgres_logical",
    "tests.support.redis",
    "tests.support.restic",
    "tests.support.restic_lab",
    "tests.support.s3",
    "tests.support.sshd",
]
