"""docs/reference/declarations.md and checks.md, made from the models.

`python -m drtests.declarations.reference docs/reference` writes them anew.
"""

from __future__ import annotations

import sys
from pathlib import Path

from drtests import registry
from drtests.model.bia import Bia
from drtests.model.estate import Estate
from drtests.model.markdown import sections
from drtests.model.system import System

_HEAD = """# Declarations

Made from the models by `python -m drtests.declarations.reference`; do not edit. Unknown keys are errors. Durations
carry a unit (`30s`, `15m`, `4h`, `1d`, `1h30m`, `2w`), sizes too (`500B`, `20kB`, `512MiB`), times a zone
(`2026-03-01T04:00:00+01:00`). Relative paths are taken from the folder that holds `targets/`.

For completion in your editor, `drtests init` and `drtests schema` write JSON Schemas; the first line of a file names
its schema:

```yaml
# yaml-language-server: $schema=.schemas/bia.schema.json
```
"""

_CHECKS = """# Checks

Made from the checks by `python -m drtests.declarations.reference`; do not edit. A check is written as its kind with its
options, and may have a `name` of its own:

```yaml
checks:
  - tree: {path: srv/app}
  - name: newest heartbeat
    marker: {file: {path: srv/app/.marker}}
```

Paths are relative to the restored tree. At least one check has to look at the data itself: `tree`, `sqlite` with a
query, `marker`, `files` with a `sha256`, or a `command` that is declared to. What a check sees is in the evidence:
counts, hashes, names and times, never the data.
"""


_ADAPTERS = """# Databases, replicas and failovers

Made from the adapters by `python -m drtests.declarations.reference`; do not edit. These options stand beside the keys
that every entry of `databases`, `replicas` and `failovers` has (see [Declarations](declarations.md)):

```yaml
databases:
  - id: records
    recipe: postgres-dump         # which options may follow depends on this
    path: srv/dumps/records.dump
```
"""


def render_declarations() -> str:
    """The page on bia.yaml, estate.yaml and systems/*.yaml."""
    files = (("bia.yaml", Bia), ("estate.yaml", Estate), ("systems/<system>.yaml", System))
    return _HEAD + "".join(sections(name, model.model_json_schema(), written=True) for name, model in files)


def render_checks() -> str:
    """The page on checks: every kind that is installed, in order of its name."""
    told = (
        sections(kind, registry.check(kind).Spec.model_json_schema(), written=True) for kind in registry.check_kinds()
    )
    return _CHECKS + "".join(told)


def render_adapters() -> str:
    """The page on recipes, kinds of replicas and kinds of failovers: every one that is installed."""
    parts = [_ADAPTERS]
    for title, names, find in (
        ("Recipes of databases", registry.recipe_names, registry.recipe),
        ("Kinds of replicas", registry.replication_kinds, registry.replication),
        ("Kinds of failovers", registry.rehearsal_kinds, registry.rehearsal),
    ):
        parts.append(f"\n# {title}\n")
        parts += [sections(name, find(name).Spec.model_json_schema(), written=True) for name in names()]
    return "".join(parts)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (folder / "declarations.md").write_text(render_declarations(), encoding="utf-8")
    (folder / "adapters.md").write_text(render_adapters(), encoding="utf-8")
    (folder / "checks.md").write_text(render_checks(), encoding="utf-8")
