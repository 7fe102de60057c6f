# Would more data help: trainings and baselines on nested parts of each fold's training records, judged like all others.
# The rules are those of the run with another folds.tsv; the last point of the curve is the run itself.


rule training_share:
    input:
        records="<results>/records/records.parquet",
        folds="<results>/folds/folds.tsv",
        label_map="<results>/labels/label_map.json",
    output:
        folds=f"{PART}/folds.tsv",
        counts=f"{PART}/training_records.tsv",
    log:
        "<logs>/learning_curve/{part}/training_share.log",
    benchmark:
        "<benchmarks>/learning_curve/{part}/training_share.tsv"
    localrule: True
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        share=lambda wildcards: PARTS[wildcards.part],
        numbers=FOLDS,
        seed=config["seed"],
        task=TASK_NAMED,
        code=code("split_training_share.py", "labels"),
    message:
        "Choosing {wildcards.part} of the training records"
    script:
        "../../scripts/split_training_share.py"


use rule train as train_on_part with:
    input:
        unpack(model_backbone),
        unpack(embeddings_of),
        records="<results>/records/records.parquet",
        folds=f"{PART}/folds.tsv",
        label_map="<results>/labels/label_map.json",
        tokens=tokens_of,
    output:
        # Nobody asks for the weights of a part.
        weights=temp(directory(f"{PART}/models/{{model}}/fold_{{fold}}/weights")),
        history=f"{PART}/models/{{model}}/fold_{{fold}}/history.tsv",
        run=f"{PART}/models/{{model}}/fold_{{fold}}/run.json",
        scores=f"{PART}/models/{{model}}/fold_{{fold}}/scores.npz",
    log:
        "<logs>/learning_curve/{part}/train/{model}/fold_{fold}.log",
    benchmark:
        "<benchmarks>/learning_curve/{part}/train/{model}/fold_{fold}.tsv"
    params:
        equal_steps=config["learning_curve"]["keep"] == "steps",
        checkpoints=f"{RUN_FOLDER}/learning_curve/{{part}}/checkpoints/{{model}}/fold_{{fold}}",
    message:
        "Training {wildcards.model} on {wildcards.part} of fold {wildcards.fold}; progress: {log}"


use rule baseline as baseline_on_part with:
    input:
        records="<results>/records/records.parquet",
        folds=f"{PART}/folds.tsv",
        label_map="<results>/labels/label_map.json",
    output:
        scores=f"{PART}/baselines/{{method}}/fold_{{fold}}/scores.npz",
        run=f"{PART}/baselines/{{method}}/fold_{{fold}}/run.json",
    log:
        "<logs>/learning_curve/{part}/baselines/{method}/fold_{fold}.log",
    benchmark:
        "<benchmarks>/learning_curve/{part}/baselines/{method}/fold_{fold}.tsv"
    message:
        "Baseline {wildcards.method} on {wildcards.part} of fold {wildcards.fold}"


use rule evaluate as evaluate_part with:
    input:
        scores=f"{PART}/{{kind}}/{{predictor}}/fold_{{fold}}/scores.npz",
        label_map="<results>/labels/label_map.json",
        records="<results>/records/records.parquet",
        folds=f"{PART}/folds.tsv",
    output:
        **{name: f"{PART}/{{kind}}/{{predictor}}/fold_{{fold}}/{name}.tsv" for name in TASK.fold_tables},
        metrics=f"{PART}/{{kind}}/{{predictor}}/fold_{{fold}}/metrics.tsv",
        calibration=f"{PART}/{{kind}}/{{predictor}}/fold_{{fold}}/calibration.json",
        curves=f"{PART}/{{kind}}/{{predictor}}/fold_{{fold}}/curves.npz",
    log:
        "<logs>/learning_curve/{part}/evaluate/{kind}/{predictor}/fold_{fold}.log",
    benchmark:
        "<benchmarks>/learning_curve/{part}/evaluate/{kind}/{predictor}/fold_{fold}.tsv"
    # Not inherited.
    localrule: True
    message:
        "Evaluating {wildcards.predictor} on {wildcards.part} of fold {wildcards.fold}"


rule learning_points:
    input:
        unpack(points_of_curve),
        counts=[f"{PART.format(part=part)}/training_records.tsv" for part in PARTS],
        folds="<results>/folds/folds.tsv",
    output:
        curve="<results>/learning_curve/learning_curve.tsv",
        gains="<results>/learning_curve/gains.tsv",
        counts="<results>/learning_curve/training_records.tsv",
    log:
        "<logs>/learning_curve/points.log",
    benchmark:
        "<benchmarks>/learning_curve/points.tsv"
    localrule: True
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        task=TASK_NAMED,
        code=code("measure_learning_curve.py"),
    message:
        "Measuring what more training data brings"
    script:
        "../../scripts/measure_learning_curve.py"


rule learning_curve:
    input:
        curve="<results>/learning_curve/learning_curve.tsv",
        gains="<results>/learning_curve/gains.tsv",
        counts="<results>/learning_curve/training_records.tsv",
        template=report_source("learning_curve.html.j2"),
        more=[report_source("sections/more_data.html.j2"), report_source("pieces.html.j2")],
        css=report_source("report.css"),
        js=report_source("report.js"),
        caption=report_source("more_data.rst"),
    output:
        page="<results>/learning_curve/learning_curve.html",
        figure=multiext("<results>/learning_curve/more_data", ".svg", ".png"),
    log:
        "<logs>/learning_curve/page.log",
    benchmark:
        "<benchmarks>/learning_curve/page.tsv"
    localrule: True
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        name=config["name"],
        language_models=MODELS,
        keep=config["learning_curve"]["keep"],
        colors=config["report"]["colors"],
        task=TASK_NAMED,
        code=code("write_learning_curve.py", "report"),
    message:
        "Writing whether more data would help"
    script:
        "../../scripts/write_learning_curve.py"
