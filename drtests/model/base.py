"""The strictness all declarations share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, WithJsonSchema


class Declaration(BaseModel):
    """Frozen; unknown keys are errors, so that a misspelt `rto` is never silently ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


Id = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)]
"""How things refer to each other: lower case letters, digits, `.`, `_` and `-`."""


@dataclass(frozen=True, slots=True)
class Refers:
    """Marks an id in the options of an adapter: what it refers to is looked up when declarations are read."""

    kind: Literal["host", "repository", "live database", "store", "database"]
    """`database` is one of the system's own `databases`; the rest is declared in estate.yaml."""


HostId = Annotated[Id, Refers("host")]
RepositoryId = Annotated[Id, Refers("repository")]
LiveId = Annotated[Id, Refers("live database")]
StoreId = Annotated[Id, Refers("store")]
DatabaseId = Annotated[Id, Refers("database")]

Flag = Annotated[bool, Strict()]
"""Only true and false; YAML's old `yes`, `no`, `on` and `off` are text, and refused."""

Level = Literal["low", "medium", "high"]
Criticality = Literal["low", "medium", "high", "critical"]
CRITICALITIES: tuple[Criticality, ...] = ("low", "medium", "high", "critical")


def _text(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return value


Text = Annotated[str, BeforeValidator(_text), WithJsonSchema({"type": ["string", "number"]})]
"""A string that a person may have written as a bare number (a port, a version)."""


def _secret_reference(value: Any) -> Any:
    text = str(value)
    kind, _, rest = text.partition(":")
    if kind not in ("env", "file", "command") or not rest.strip():
        # The value itself may be the secret, so it is not repeated.
        raise ValueError("a secret is given by reference only; write env:NAME, file:/path or command:program args")
    return text


SecretReference = Annotated[
    str,
    BeforeValidator(_secret_reference),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^(env|file|command):.+",
            "description": "where a secret is found, never the secret: env:NAME, file:/path, command:program args",
            "examples": ["env:RESTIC_PASSWORD", "file:/etc/drtests/nas.key", "command:pass show restic/nas"],
        }
    ),
]


def _engine_variable(value: Any) -> Any:
    if str(value).startswith("plain:"):
        return str(value)
    try:
        return _secret_reference(value)
    except ValueError as error:
        raise ValueError(f"{error}; or plain:value for what is no secret") from None


EngineVariable = Annotated[
    str,
    BeforeValidator(_engine_variable),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^(env|file|command|plain):.+",
            "description": "where the value is found: env:NAME, file:PATH, command:PROGRAM ARGS; or plain:VALUE",
        }
    ),
]


class Dependency(Declaration):
    """Something else that must be up first. `hard`: cannot run without it; `soft`: runs worse."""

    target: Id
    type: Literal["hard", "soft"] = "hard"


def _dependency(value: Any) -> Any:
    return {"target": value} if isinstance(value, str) else value


Dependencies = tuple[Annotated[Dependency, BeforeValidator(_dependency)], ...]


def gather_options(model: type[BaseModel], value: Any) -> Any:
    """For a before-validator: an adapter's options stand beside the keys that all have, and go to `options`."""
    if not isinstance(value, Mapping) or "options" in value:
        return value
    own = {name: part for name, part in value.items() if name in model.model_fields}
    return {**own, "options": {name: part for name, part in value.items() if name not in own}}
