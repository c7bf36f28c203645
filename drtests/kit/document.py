"""All pages of the kit as one document: HTML that needs nothing but itself, made to be printed on A4. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from posixpath import basename

from markdown_it import MarkdownIt

_LINK = re.compile(r'href="([^":#]+\.md)"')
_TASK = re.compile(r"<li>\s*(<p>)?\[ \] ")
_STYLE = """
@page { size: A4; margin: 18mm 16mm 20mm 20mm; }
* { box-sizing: border-box; }
body { font: 10.5pt/1.45 "DejaVu Sans", "Liberation Sans", Arial, sans-serif; color: #111; margin: 0 auto;
  max-width: 178mm; padding: 6mm; }
section { break-before: page; }
section:first-of-type { break-before: auto; }
h1 { font-size: 18pt; border-bottom: 2px solid #111; padding-bottom: 2mm; }
h2 { font-size: 13pt; break-after: avoid; margin-top: 7mm; }
table { border-collapse: collapse; width: 100%; font-size: 9pt; margin: 3mm 0; }
th, td { border: 1px solid #777; padding: 1.2mm 2mm; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
th { background: #eee; }
thead { display: table-header-group; }
tr { break-inside: avoid; }
pre { border: 1px solid #777; background: #f6f6f6; padding: 2.5mm; white-space: pre-wrap; overflow-wrap: anywhere;
  break-inside: avoid-page; }
pre, code { font: 9pt/1.5 "DejaVu Sans Mono", "Liberation Mono", monospace; }
li { margin: 1mm 0; }
a { color: inherit; }
.box { display: inline-block; width: 3.2mm; height: 3.2mm; border: 1px solid #111; margin-right: 2mm; }
#logbook td { height: 9mm; }
@media print { body { padding: 0; max-width: none; } a { text-decoration: none; } }
"""


def document(title: str, pages: Mapping[str, str]) -> str:
    """One section for each page, in order; links between pages lead to their sections."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    anchors = {basename(name): anchor(name) for name in pages}
    sections = []
    for name, page in pages.items():
        body = _LINK.sub(lambda found: f'href="#{anchors.get(basename(found[1]), "")}"', markdown.render(page))
        body = _TASK.sub(lambda found: f'<li>{found[1] or ""}<span class="box"></span>', body)
        sections.append(f'<section id="{anchors[basename(name)]}">\n{body}</section>\n')
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{''.join(sections)}</body>\n</html>\n"
    )


def anchor(name: str) -> str:
    """What a page is called within the document: `runbooks/a.md` is `runbook-a`, `plan.md` is `plan`."""
    plain = name.removesuffix(".md").lower()
    return plain.replace("runbooks/", "runbook-")
