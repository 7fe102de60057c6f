"""Rule learning_points: the figures of all points of the learning curve, and what the last step brought.

input: metrics_0, metrics_1, ... (lists of tables, the smallest part first, the run last), counts of each part, folds;
output: curve, gains, counts.
"""

import pandas as pd

from dnatune.comparison import read_metrics, tested_per_trained
from dnatune.files import write_tsv
from dnatune.job import job
from dnatune.more_data import gains, points
from dnatune.report_files import listed, table
from dnatune.tasks import task

with job(snakemake) as log:
    given, kind = snakemake.input, task(**snakemake.params.task)
    # Each part counts the whole too.
    counts = pd.concat([table(path) for path in listed(given.counts)]).drop_duplicates(["fold", "share"])
    counts = counts.sort_values(["fold", "share"])
    tables = [read_metrics(listed(given[f"metrics_{number}"])) for number in range(counts["share"].nunique())]
    curve = points(tables, counts, kind)
    found = gains(curve, tested_per_trained(given.folds), kind)
    write_tsv(snakemake.output.curve, curve)
    write_tsv(snakemake.output.gains, found)
    write_tsv(snakemake.output.counts, counts)
    for row in found.itertuples():
        log.info("%s: %s gained %+.4f (%+.4f to %+.4f)", row.model, row.metric, row.gain, row.ci_low, row.ci_high)
