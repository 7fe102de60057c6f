# Metrics of every fold, raw and calibrated, and the comparison of all models and baselines.


rule evaluate:
    input:
        scores="<results>/{kind}/{predictor}/fold_{fold}/scores.npz",
        label_map="<results>/labels/label_map.json",
        records="<results>/records/records.parquet",
        folds="<results>/folds/folds.tsv",
    output:
        **{name: f"<results>/{{kind}}/{{predictor}}/fold_{{fold}}/{name}.tsv" for name in TASK.fold_tables},
        metrics="<results>/{kind}/{predictor}/fold_{fold}/metrics.tsv",
        calibration="<results>/{kind}/{predictor}/fold_{fold}/calibration.json",
        curves="<results>/{kind}/{predictor}/fold_{fold}/curves.npz",
    log:
        "<logs>/evaluate/{kind}/{predictor}/fold_{fold}.log",
    benchmark:
        "<benchmarks>/evaluate/{kind}/{predictor}/fold_{fold}.tsv"
    localrule: True
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=estimated("evaluate", "mem_mb"),
        runtime=estimated("evaluate", "runtime"),
    params:
        **{**JUDGING, "calibration": lambda wildcards: CALIBRATION[wildcards.kind]},
        model="{predictor}",
        fold="{fold}",
        metrics=config["metrics"],
        seed=config["seed"],
        task=TASK_NAMED,
        code=code("evaluate_fold.py", "labels", "judging"),
    message:
        "Calibrating and evaluating {wildcards.predictor} on fold {wildcards.fold}"
    script:
        "../../scripts/evaluate_fold.py"


rule compare:
    input:
        metrics=fold_files("metrics.tsv", JUDGED),
        curves=fold_files("curves.npz", JUDGED),
        folds="<results>/folds/folds.tsv",
    output:
        metrics="<results>/metrics.tsv",
        comparison="<results>/comparison.tsv",
        paired="<results>/paired_tests.tsv",
    log:
        "<logs>/compare.log",
    benchmark:
        "<benchmarks>/compare.tsv"
    localrule: True
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        task=TASK_NAMED,
        seed=config["seed"],
        code=code("compare_models.py"),
    message:
        "Comparing all models and baselines over the folds"
    script:
        "../../scripts/compare_models.py"
