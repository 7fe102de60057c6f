"""The versions a result was made with, and a warning when a saved model meets others."""

from __future__ import annotations

import importlib.metadata
import platform

from dnatune import __version__

PACKAGES = (
    "torch",
    "transformers",
    "datasets",
    "peft",
    "accelerate",
    "bitsandbytes",
    "scikit-learn",
    "numpy",
    "pandas",
    "pyarrow",
    "biopython",
    "matplotlib",
    "snakemake",
)


def installed_versions() -> dict[str, str]:
    """Return the versions of dnatune, Python and every package of ours that is installed here."""
    found = {"dnatune": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # a rule's environment holds only what the rule needs
    return found


def version_warnings(made_with: dict[str, str]) -> list[str]:
    """Return one sentence for each package whose major or minor version differs from the one a model was made with."""
    here = installed_versions()
    return [
        f"The model was made with {name} {version}, here is {here[name]}: numbers may differ slightly."
        for name, version in made_with.items()
        if name in here and here[name].split("+")[0].split(".")[:2] != version.split("+")[0].split(".")[:2]
    ]
