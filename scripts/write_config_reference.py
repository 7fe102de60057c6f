"""Write config/README.md, the configuration reference, from the schema: python scripts/write_config_reference.py"""

from pathlib import Path

from dnatune.config import load_schema
from dnatune.config_reference import reference
from dnatune.files import whole

TARGET = Path(__file__).resolve().parents[1] / "config" / "README.md"

if __name__ == "__main__":
    with whole(TARGET) as partial:
        partial.write_text(reference(load_schema()), "utf-8")
    print(f"wrote {TARGET}")
