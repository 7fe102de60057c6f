"""Every recipe runs from its tables to a report, a saved model and predictions, on a miniature of its backbone.

Only files, sizes, folds and epochs are changed: tuning, head, loss, metrics and packaging are the recipe's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import recipe_data
from miniature_entries import write_mistral_dna, write_plant_dnagpt
from miniatures import write_nt
from native_miniatures import write_aido
from workflow_runs import REPOSITORY, TINY, Run

RECIPES = REPOSITORY / "config" / "recipes"


@dataclass(frozen=True)
class Case:
    """A recipe's data, the miniature of its backbone (None: embedded), and the metric its figures must have."""

    data: Callable[[Path], dict[str, Any]]
    write: Callable[[Path], Path] | None
    metric: str


CASES = {
    "barcodes-nt-mini": Case(recipe_data.species, None, "pr_auc_macro"),
    "unknown-species-nt-mini": Case(recipe_data.strangers, None, "rejected_distance"),
    "identification-nt-2.5b": Case(recipe_data.species, write_nt, "pr_auc_weighted"),
    "tf-binding-mistral-dna": Case(recipe_data.bound, write_mistral_dna, "mcc"),
    "tf-binding-nt-mini": Case(recipe_data.bound, None, "mcc"),
    "many-labels-plant-dnagpt": Case(recipe_data.open_regions, write_plant_dnagpt, "hamming_loss"),
    "promoter-strength-nt-mini": Case(recipe_data.strengths, None, "pearson"),
    "aido-dna-7b": Case(recipe_data.classes, write_aido, "log_loss"),
    "aido-dna-7b-tokens": Case(recipe_data.genes, write_aido, "f1_macro"),
    "aido-dna-7b-values": Case(recipe_data.strengths, write_aido, "spearman"),
}


def shrunk(name: str, case: Case, folder: Path) -> dict[str, Any]:
    """Return the recipe with files that are there, a backbone of its kind in small, and few epochs."""
    config = yaml.safe_load((RECIPES / f"{name}.yaml").read_text("utf-8"))
    given = case.data(folder / "data")
    columns = {**config["data"].pop("columns", {}), **given.pop("columns", {})}
    columns.pop("ranks", None)
    config["data"] = {**config["data"], **given, **({"columns": columns} if columns else {})}
    config["data"].pop("select", None)
    config["filter"] = {**config.get("filter", {}), "min_length": 20}
    config.pop("split", None)
    if "split" not in columns:
        config["split"] = {"folds": 2, "validation_share": 0.25}
    for model in config["models"].values():
        if case.write:
            model["backbone"] = str(case.write(folder / "backbone"))
        else:
            model["backbone_config"] = {**model.get("backbone_config", {}), **TINY}
        # The miniatures' tokenizers read a few hundred tokens at most.
        if "max_tokens" in model.get("tokens", {}):
            model["tokens"]["max_tokens"] = 64
        model.setdefault("training", {}).update(epochs=2, gradient_accumulation=1)
        model["resources"] = {"threads": 1}
    return config


def test_every_recipe_is_tried_here() -> None:
    embedding = {"aido-dna-7b-embed"}
    assert {path.stem for path in RECIPES.glob("*.yaml")} == {*CASES, *embedding}


@pytest.mark.parametrize("name", CASES)
def test_a_recipe_runs_to_report_saved_model_and_predictions(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    config = shrunk(name, case, tmp_path)
    config["query"] = config["data"]["sequences"]
    run = Run(tmp_path / "work", config).make("all", "predict")
    comparison = pd.read_csv(run.results / "comparison.tsv", sep="\t")
    model = next(iter(config["models"]))
    mine = comparison[(comparison["model"] == model) & (comparison["split"] == "test")]
    assert case.metric in set(mine["metric"])
    assert set(comparison["model"]) > {model}, "no baseline was run"
    assert (run.results / "report" / "report.html").stat().st_size > 50_000
    assert (run.results / "final" / model / "README.md").is_file()
    assert (run.results / "final" / model / "light").is_dir()
    named = pd.read_csv(run.results / "predictions" / "sequences.tsv", sep="\t")
    assert len(named) > 30


def test_the_embedding_recipe_gives_one_vector_per_sequence(tmp_path: Path) -> None:
    config = shrunk("aido-dna-7b-embed", Case(recipe_data.unlabelled, write_aido, ""), tmp_path)
    config["models"]["aido-dna-7b"].pop("training")
    run = Run(tmp_path / "work", config).make()
    table = pd.read_parquet(run.results / "vectors" / "aido-dna-7b.parquet")
    assert list(table.columns) == ["id", "vector"]
    assert table["id"].is_unique and len(table) == 40
    assert table["vector"].map(lambda v: (v**2).sum() > 0).all()
