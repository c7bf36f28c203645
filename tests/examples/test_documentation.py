"""What docs/how-to/add-a-database.md shows is what is tested here."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "how-to" / "add-a-database.md"


def test_the_page_shows_these_files() -> None:
    shown = re.findall(r"^`tests/examples/(\S+)`:\n\n```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert {name for name, _ in shown} == {"jsonlines.py", "test_jsonlines.py", "shipped.py"}
    for name, text in shown:
        assert text == (HERE / name).read_text(), f"copy tests/examples/{name} into {PAGE.name}"
