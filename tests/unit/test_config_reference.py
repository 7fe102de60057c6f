"""The configuration reference: in step with the schema, and the schema complete."""

from pathlib import Path

import pytest
import yaml

from dnatune.config import load_schema, resolve
from dnatune.config_reference import reference

ROOT = Path(__file__).parents[2]


def test_reference_is_not_stale():
    written = (ROOT / "config" / "README.md").read_text("utf-8")
    assert written == reference(load_schema()), "run: make docs"


def keys(schema, path=""):
    """Yield (path, schema, required) of every key of a schema, those of each model included."""
    for key, child in schema.get("properties", {}).items():
        yield f"{path}{key}", child, key in schema.get("required", [])
        yield from keys(child, f"{path}{key}.")
        each = child.get("additionalProperties")
        if isinstance(each, dict):
            yield from keys(each, f"{path}{key}.<name>.")


def test_every_key_has_a_description_and_a_default_or_is_required():
    bare = [
        path
        for path, child, required in keys(load_schema())
        if not child.get("description") or not (required or "default" in child)
    ]
    assert not bare


def test_every_group_refuses_unknown_keys():
    groups = [(path, child) for path, child, _ in keys(load_schema()) if child.get("type") == "object"]
    assert groups
    assert not [path for path, child in groups if child.get("additionalProperties", True) is True]


def test_the_example_and_the_readme_configuration_are_valid(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert resolve(yaml.safe_load((ROOT / "config" / "config.yaml").read_text()))["name"] == "example"
    readme = (ROOT / "README.md").read_text("utf-8")
    block = readme.split("```yaml\n")[1].split("```")[0]
    settings = resolve(yaml.safe_load(block))["models"]["nt-mini"]["training"]
    assert settings["learning_rate"] == 1e-3


@pytest.mark.parametrize("path", sorted((ROOT / "config" / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_is_valid(path):
    assert resolve(yaml.safe_load(path.read_text("utf-8")))["models"]
