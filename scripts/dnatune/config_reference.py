"""The configuration reference as Markdown, made from the schema so that the two cannot drift apart."""

from __future__ import annotations

import json
from typing import Any

HEAD = """# Configuration

Made from `workflow/schemas/config.schema.yaml` by `make docs`; edit there.

A configuration is one YAML file with `name`, `data` and `models`; everything else has a default. Keys that are not
listed here are refused. Numbers may be written `1e-5`. Start from [config.yaml](config.yaml), which explains
the keys of the example in order, and run `snakemake --cores 8 --configfile my.yaml`.

"""


def reference(schema: dict[str, Any]) -> str:
    """Return the reference: a section per group of keys, a table row per key."""
    lines = [HEAD.strip(), ""]
    _section(lines, "Top level", "", schema)
    return "\n".join(lines) + "\n"


def _section(lines: list[str], title: str, prefix: str, schema: dict[str, Any]) -> None:
    lines += [f"## {title}", ""]
    if prefix:
        lines += [schema.get("description", ""), ""]
    keys = schema.get("properties", {})
    leaves = {key: child for key, child in keys.items() if not _is_group(child)}
    if leaves:
        lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
        required = schema.get("required", [])
        lines += [_row(key, child, key in required) for key, child in leaves.items()]
        lines.append("")
    for key, child in keys.items():
        if not _is_group(child):
            continue
        each = child.get("additionalProperties")
        if isinstance(each, dict) and "properties" in each:
            path = f"{prefix}{key}.<name>"
            _section(lines, f"`{path}`", f"{path}.", {**each, "description": child["description"]})
        else:
            _section(lines, f"`{prefix}{key}`", f"{prefix}{key}.", child)


def _is_group(schema: dict[str, Any]) -> bool:
    each = schema.get("additionalProperties")
    return bool(schema.get("properties")) or (isinstance(each, dict) and "properties" in each)


def _row(key: str, schema: dict[str, Any], required: bool) -> str:
    default = "**required**" if required else f"`{json.dumps(schema.get('default'), ensure_ascii=False)}`"
    return f"| `{key}` | {_type(schema)} | {default} | {schema.get('description', '')} |"


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{'null' if option is None else option}`" for option in schema["enum"])
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    names = {"array": "list", "object": "mapping", "string": "text", "boolean": "true / false"}
    text = " or ".join(names.get(kind, kind) for kind in kinds)
    bounds = [
        f"{sign} {schema[key]}"
        for key, sign in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("exclusiveMaximum", "<"),
        )
        if key in schema
    ]
    return f"{text}, {', '.join(bounds)}" if bounds else text
