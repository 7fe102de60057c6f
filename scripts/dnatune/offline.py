"""Importing this switches model hubs off, for this process and those it starts; before anything that would ask them.

The libraries read these settings when they are first imported. A job that computes finds everything in files.
"""

from __future__ import annotations

import os

SWITCHED_OFF = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
os.environ.update(SWITCHED_OFF)
