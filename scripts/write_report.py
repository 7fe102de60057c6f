"""Write report.html and its tables from the files of a run and the figures already drawn."""

from pathlib import Path

from dnatune import report, report_difficulty, report_files, report_more_data
from dnatune.files import read_json, whole, write_tsv
from dnatune.job import job
from dnatune.tasks import task

with job(snakemake) as log:
    given, settings = snakemake.input, snakemake.params
    kind = task(**settings.task)
    run = report.Run(
        title=settings.title or kind.wording.title.format(name=settings.name),
        name=settings.name,
        summary=read_json(given.records_summary),
        labels_summary=read_json(given.labels_summary),
        label_map=read_json(given.label_map),
        audit=read_json(given.audit),
        removed=report_files.table(given.removed),
        balance=report_files.table(given.class_balance),
        metrics=report_files.table(given.metrics),
        comparison=report_files.table(given.comparison),
        paired=report_files.table(given.paired),
        language_models=list(settings.language_models),
        baselines=list(settings.baselines),
        history=report_files.of_folds(report_files.listed(given.get("histories"))),
        task=kind,
        fold_tables={name: report_files.of_folds(report_files.listed(given.get(name))) for name in kind.fold_tables},
        benchmarks=report_files.benchmarks(report_files.listed(given.get("benchmarks"))),
        runs=report_files.records_of(report_files.listed(given.get("runs"))),
        calibrations=report_files.records_of(report_files.listed(given.get("calibrations"))),
        tokens={
            Path(folder).name: read_json(Path(folder) / "tokens.json")
            for folder in report_files.listed(given.get("tokens"))
        },
        figures={Path(path).stem: Path(path) for path in report_files.listed(given.get("figures"))},
        captions={Path(path).stem: report.caption(path) for path in report_files.listed(given.get("captions"))},
        config=settings.config,
        left_out=list(settings.left_out),
        engines=list(settings.engines),
        saved=list(settings.saved),
        predict_with=settings.predict_with,
        library_versions=dict(settings.library_versions),
    )
    if given.get("species"):
        run.difficulty = report_difficulty.read(given.species, given.suspicious, given.difficulty)
    if given.get("curve"):
        files, keep = (given.curve, given.gains, given.training_records), settings.config["learning_curve"]["keep"]
        run.more_data = report_more_data.read(*files, kind, keep, run.language_models)
    if run.task.classes:
        run.unknowns = report_files.unknowns(report_files.listed(given.get("scores")), run.naming, run.task)
    text = report.render(run, given.template, given.css, given.js)
    tables = report.tables(run)
    for path in report_files.listed(snakemake.output.tables):
        write_tsv(path, tables[Path(path).stem])
    with whole(snakemake.output.report) as partial:
        partial.write_text(text, "utf-8")
    log.info("wrote %s", snakemake.output.report)
