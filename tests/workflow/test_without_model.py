"""A run without a language model: baselines compared, pooled in an engine, reported, and used to name sequences."""

import pandas as pd

from workflow_runs import Run, configuration, fasta, simulate, write_inputs

EXPERTS = ["naive_bayes", "kmer_top_hit"]


def test_baselines_alone_make_a_report_and_an_engine_that_names(tmp_path):
    inputs = write_inputs(tmp_path / "input", simulate())
    query = tmp_path / "new.fasta"
    query.write_text(fasta(simulate(of_each=3)))
    settings = configuration(
        inputs,
        models={},
        baselines={"methods": ["majority", *EXPERTS]},
        engine={"experts": EXPERTS},
        query=str(query),
    )
    results = Run(tmp_path, settings).make("all", "predict").results
    text = (results / "report/report.html").read_text()
    assert "Do several experts together do better?" in text
    assert "Learning curves" not in text and "language model" not in text.split("<h2>Data")[0]
    assert "snakemake predict uses the engine" in text
    assert not (results / "models").exists() and not (results / "tokens").exists()
    assert {path.name for path in (results / "final/engine").iterdir() if path.is_dir()} == set(EXPERTS)
    named = pd.read_csv(results / "predictions/new.tsv", sep="\t")
    assert set(named["model"]) == {"engine"} and len(named) == len(simulate(of_each=3))
