"""Checks the links between the pages of the folder it is run in. Copied into the website as `check_links.py`."""

from __future__ import annotations

import re
from pathlib import Path


def broken(site: Path) -> list[str]:
    """Links of pages that lead to no file."""
    found: list[str] = []
    for page in sorted(site.rglob("*.html")):
        for link in re.findall(r'(?:href|src)="([^"#]+)"', page.read_text()):
            if "//" not in link and not (page.parent / link).is_file():
                found.append(f"{page.relative_to(site)}: {link}")
    return found


if __name__ == "__main__":
    links = broken(Path())
    print(*links, f"{len(links)} broken links", sep="\n")
    raise SystemExit(1 if links else 0)
