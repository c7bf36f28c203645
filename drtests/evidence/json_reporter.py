"""record.json and actions.json."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from pydantic import ValidationError

from drtests.errors import PackError
from drtests.model.record import Record


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


class JsonReporter:
    """The whole record."""

    filename: ClassVar[str] = "record.json"

    def render(self, record: Record) -> bytes:
        return _json(record.model_dump(mode="json"))


class ActionsReporter:
    """The action items alone, for whoever tracks them."""

    filename: ClassVar[str] = "actions.json"

    def render(self, record: Record) -> bytes:
        actions = [item.model_dump(mode="json") for item in record.actions]
        return _json({"schema": "drtests-actions", "schema_version": 1, "run": record.run.id, "actions": actions})


def parse_record(data: bytes, where: str) -> Record:
    """A record from its JSON. Raises PackError when it is none, or of a version not known here."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise PackError("this is not JSON", where=where, mend="`drtests report` makes it again") from error
    version = found.get("schema_version") if isinstance(found, dict) else None
    if not isinstance(found, dict) or found.get("schema_name") != "drtests-record":
        raise PackError("this is no record of drtests", where=where, mend="`drtests report` makes it again")
    if version != 1:
        raise PackError(
            f"the record is of schema version {version!r}, which is not known here",
            where=where,
            mend="read it with the version of drtests that wrote it, or a newer one",
        )
    try:
        # As JSON: strict about types, lenient about lists that are tuples inside.
        return Record.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise PackError(
            f"the record is damaged at {place}", where=where, mend="`drtests report` makes it again"
        ) from error
