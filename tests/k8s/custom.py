"""Strict validation of custom resources against the schemas of their own projects."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from tests.k8s.manifests import Manifest

SCHEMAS = Path(__file__).parent / "schemas"


def is_custom(manifest: Manifest) -> bool:
    """Whether Kubernetes itself has no schema of it."""
    return ".x-k8s.io/" in manifest["apiVersion"]


def validate_custom(manifest: Manifest) -> None:
    """Refuse unknown fields, kinds and versions, too."""
    Draft202012Validator(_schemas()[f"{manifest['apiVersion']} {manifest['kind']}"]).validate(
        manifest
    )


@functools.cache
def _schemas() -> dict[str, Any]:
    files = [json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")]
    return {name: _strict(schema) for file in files for name, schema in file.items()}


def _strict(schema: Any) -> Any:
    """Forbid what a schema does not name, unless it says that there may be more."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    strict = {key: _strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), Mapping) and schema.get("type") == "object":
        more = schema.get("x-kubernetes-preserve-unknown-fields", False)
        strict.setdefault("additionalProperties", bool(more))
    return strict
