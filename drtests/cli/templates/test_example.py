"""Recovery tests in Python, for what is too much for YAML.

Each test gets its system restored and started as its file in systems/ says; then the function runs, and
everything is cleaned up. A failed assertion is a missed objective; any other exception means that we do
not know.
"""

import pytest


@pytest.mark.recovery("main-system", checks=False)  # without checks=False the system's own checks run first
def test_restored_files_can_be_read(recovery):
    """Every restored file can be read to its end, and they hold something."""
    folder = recovery.path(@path-text@)  # a pathlib.Path in the restored tree
    total = sum(len(file.read_bytes()) for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    recovery.measure("bytes_read", total, "B")  # goes into the evidence
    assert total > 0, "nothing was restored"

    # A command in the restored tree; its arguments and exit code go into the evidence:
    # done = recovery.run(["python3", "check.py"], timeout=60)
    # assert done.exit_code == 0, done.stderr
