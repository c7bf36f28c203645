"""The strictness all parts of the record share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """Frozen; unknown keys are errors here too, so that a newer version is never half read."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
