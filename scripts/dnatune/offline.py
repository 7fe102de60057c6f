"""Importing this switches model hubs off, for this process and those it starts; before anything that would ask them.

The libraries read these settings when they are first imported. A job that computes finds everything in files.
Until ``job`` begins Python looks for no garbage either: importing torch and transformers makes a million objects, and
none of them is any.
"""

from __future__ import annotations

import gc
import os

SWITCHED_OFF = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
os.environ.update(SWITCHED_OFF)
gc.disable()
