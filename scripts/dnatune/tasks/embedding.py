"""No label at all: the run ends with one vector per sequence, and nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from dnatune.tasks.base import Task


class Embedding(Task):
    """See the module."""

    classes = False
    empty_labels = True
    labelled = False
    calibrations = ("auto",)
    parts: ClassVar[Mapping[str, str]] = {"labels": "tasks.base:Labels"}


TASK = Embedding
