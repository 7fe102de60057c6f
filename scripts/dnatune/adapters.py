"""peft, told that our adapters are saved under the names of the modules as they are."""

from __future__ import annotations

from types import ModuleType
from typing import Any


def peft_library() -> ModuleType:
    """Return peft with its translation of adapters from older names switched off.

    Ours need none. peft 0.19 tries it for every architecture whose weights transformers 5 renames when it loads
    them, and for Mixtral asks transformers 5.15 for what that version does not have.
    """
    import peft
    from peft.utils import transformers_weight_conversion as conversion

    conversion.convert_peft_adapter_state_dict_for_transformers = _as_saved
    return peft


def _as_saved(*, adapter_state_dict: dict[str, Any], **_: Any) -> dict[str, Any]:
    return adapter_state_dict
