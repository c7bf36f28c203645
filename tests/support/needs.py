"""Programs that tests need and pip cannot install."""

from __future__ import annotations

import glob
import os
import shutil

import pytest


def needs(*candidates: str, install: str) -> str:
    """The first of these programs that is here: names, or patterns of full paths (the last match counts).

    Without it the test is skipped; on the build server it fails: skipped there, nobody would ever see it.
    """
    for candidate in candidates:
        found = sorted(glob.glob(candidate))[-1:] if "/" in candidate else [shutil.which(candidate) or ""]
        if found and found[0]:
            return found[0]
    what = f"{candidates[0]} is not installed: apt-get install {install}"
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)
