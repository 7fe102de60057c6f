# Figures, tables and the one self-contained report.
FIGURES = [*TASK.figures, *(["more_data"] if curve_of_run() else [])]
TABLES = ["models", "removed_reasons", "time_and_memory", *TASK.report_tables]
SECTIONS = [f"sections/{name}.html.j2" for name in TASK.sections]


rule figures:
    input:
        **{name: fold_files(f"{name}.tsv", MODELS + BASELINES + ENGINES) for name in TASK.fold_tables},
        **difficulty_of_data(),
        **curve_of_run(),
        labels_summary="<results>/labels/summary.json",
        class_balance="<results>/labels/class_balance.tsv",
        folds_audit="<results>/folds/audit.json",
        metrics="<results>/metrics.tsv",
        comparison="<results>/comparison.tsv",
        histories=fold_files("history.tsv", MODELS),
        curves=fold_files("curves.npz", JUDGED),
        engine_runs=fold_files("run.json", ENGINES),
    output:
        **{
            figure: report(
                f"<results>/report/figures/{figure}.svg",
                caption=f"../report/{figure}.rst",
                category="Figures",
            )
            for figure in FIGURES
        },
        png=expand("<results>/report/figures/{figure}.png", figure=FIGURES),
    log:
        "<logs>/figures.log",
    benchmark:
        "<benchmarks>/figures.tsv"
    localrule: True
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        colors=config["report"]["colors"],
        saved=PACKAGED,
        predict_with=config["predict_with"],
        task=TASK_NAMED,
        code=code("draw_figures.py"),
    message:
        "Drawing the figures"
    script:
        "../../scripts/draw_figures.py"


rule report:
    input:
        **{name: fold_files(f"{name}.tsv", MODELS + BASELINES + ENGINES) for name in TASK.fold_tables},
        **difficulty_of_data(),
        **curve_of_run(),
        records_summary="<results>/records/summary.json",
        removed="<results>/records/removed.tsv",
        labels_summary="<results>/labels/summary.json",
        label_map="<results>/labels/label_map.json",
        class_balance="<results>/labels/class_balance.tsv",
        audit="<results>/folds/audit.json",
        metrics="<results>/metrics.tsv",
        comparison="<results>/comparison.tsv",
        paired="<results>/paired_tests.tsv",
        figures=expand("<results>/report/figures/{figure}.svg", figure=FIGURES),
        histories=fold_files("history.tsv", MODELS),
        runs=fold_files("run.json", MODELS + BASELINES + ENGINES),
        scores=fold_files("scores.npz", (MODELS or BASELINES) + ENGINES),
        tokens=[f"<results>/tokens/{name}" for name in TOKEN_SETS],
        calibrations=fold_files("calibration.json", JUDGED),
        benchmarks=benchmarks_of_jobs(),
        template=report_source("report.html.j2"),
        parts=[report_source(name) for name in ("pieces.html.j2", "sections/more_data.html.j2", *SECTIONS)],
        css=report_source("report.css"),
        js=report_source("report.js"),
        captions=[report_source(f"{figure}.rst") for figure in FIGURES],
    output:
        report=report("<results>/report/report.html", caption="../report/report.rst", category="Report"),
        tables=report(
            expand("<results>/report/tables/{table}.tsv", table=TABLES),
            caption="../report/tables.rst",
            category="Tables",
        ),
    log:
        "<logs>/report.log",
    benchmark:
        "<benchmarks>/report.tsv"
    localrule: True
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        title=config["report"]["title"],
        name=config["name"],
        config=reported_config(),
        left_out=LEFT_OUT,
        language_models=MODELS,
        baselines=BASELINES,
        engines=ENGINES,
        saved=PACKAGED,
        predict_with=config["predict_with"],
        library_versions=installed_versions(),
        task=TASK_NAMED,
        code=code("write_report.py", "judging", "report"),
    message:
        "Writing the report"
    script:
        "../../scripts/write_report.py"
