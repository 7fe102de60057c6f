"""What the rules say of their scripts: the task parts each one uses and its environments."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from dnatune.tasks import task

RULES = sorted((Path(__file__).parents[2] / "workflow" / "rules").glob("*.smk"))


@dataclass(frozen=True)
class RuleScript:
    """A rule's script, the ``parts`` of the task in its code version, its environment files."""

    script: str
    parts: tuple[str, ...]
    environments: tuple[str, ...]

    def modules(self, task_name: str) -> list[str]:
        """Return what the script loads by name in a run of a task."""
        return [f"dnatune.tasks.{task_name}", *task(task_name).modules(self.parts)]


def rule_scripts() -> list[RuleScript]:
    """Return all scripts of rules; each belongs to one rule."""
    found = []
    for path in RULES:
        for rule in re.split(r"^rule ", path.read_text("utf-8"), flags=re.M)[1:]:
            script = re.search(r'script:\s*"[./]*scripts/([\w.]+)"', rule)
            conda = re.search(r'conda:\s*f?"[./]*envs/([^"]+)"', rule)
            code = re.search(r'\bcode=code\("([\w.]+)"((?:, "\w+")*)\)', rule)
            where = f"{path.name}: rule {rule.split(':')[0]}"
            assert script and conda and code, f"{where} lacks script, conda or code version"
            assert code[1] == script[1], f"{where} has the code version of another script"
            kinds = ("cpu", "cuda") if "{" in conda[1] else ("",)
            environments = tuple(re.sub(r"\{.*?\}", kind, conda[1]) for kind in kinds)
            found.append(RuleScript(script[1], tuple(re.findall(r'"(\w+)"', code[2])), environments))
    assert len({rule.script for rule in found}) == len(found)
    return found
