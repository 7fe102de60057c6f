"""dnatune: fine-tuning of DNA language models that can be trusted.

The modules follow the way of the data: records, labels, folds, tokens, training, metrics,
calibration, baselines, comparison, packaging, report. None of them imports Snakemake.
"""

__version__ = "0.1.0"
