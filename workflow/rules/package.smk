# The saved model, and the names it gives to new sequences.


rule refit:
    input:
        unpack(model_backbone),
        unpack(embeddings_of),
        records="<results>/records/records.parquet",
        folds="<results>/folds/folds.tsv",
        label_map="<results>/labels/label_map.json",
        tokens=tokens_of,
        runs=lambda wildcards: fold_files("run.json", [wildcards.model]),
    output:
        weights=directory("<results>/models/{model}/refit/weights"),
        history="<results>/models/{model}/refit/history.tsv",
        run="<results>/models/{model}/refit/run.json",
    log:
        "<logs>/refit/{model}.log",
    benchmark:
        "<benchmarks>/refit/{model}.tsv"
    conda:
        f"../../envs/train-{config['training_environment']}.yaml"
    threads: model_threads
    resources:
        mem_mb=asked("refit", "mem_mb"),
        runtime=asked("refit", "runtime"),
        gpu=model_gpus,
        gpu_mem_mb=asked("refit", "gpu_mem_mb"),
        gpu_model=card("refit"),
        nodes=model_nodes,
        # With several nodes: the job itself starts its work on each (mpi), with as many GPUs on one as on another (gres).
        mpi=with_nodes("srun"),
        tasks=with_nodes(one_task_each),
        tasks_per_gpu=with_nodes(0),
        gres=with_nodes(gpus_of_each_node("refit")),
        # A resource, for its change trains nothing again; 0 is none.
        checkpoint_minutes=checkpoint_minutes,
    params:
        model="{model}",
        settings=model_settings,
        task=TASK_NAMED,
        seed=config["seed"],
        checkpoints=f"{RUN_FOLDER}/checkpoints/{{model}}/refit",
        code=code("refit_model.py", "labels", "learning"),
    message:
        "Training {wildcards.model} on all data; progress: {log}"
    script:
        "../../scripts/refit_model.py"


rule reference:
    input:
        unpack(model_backbone),
        tokens=tokens_of,
        records="<results>/records/records.parquet",
        folds="<results>/folds/folds.tsv",
        label_map="<results>/labels/label_map.json",
        weights=packaged_weights,
        runs=lambda wildcards: fold_files("run.json", [wildcards.model]),
    output:
        reference="<results>/models/{model}/reference.npz",
    log:
        "<logs>/reference/{model}.log",
    benchmark:
        "<benchmarks>/reference/{model}.tsv"
    conda:
        f"../../envs/train-{config['training_environment']}.yaml"
    threads: model_threads
    resources:
        mem_mb=asked("reference", "mem_mb"),
        runtime=asked("reference", "runtime"),
        gpu=one_gpu,
        gpu_mem_mb=asked("reference", "gpu_mem_mb"),
        gpu_model=card("reference"),
        nodes=1,
    params:
        model="{model}",
        settings=model_settings,
        task=TASK_NAMED,
        seed=config["seed"],
        mode=config["packaging"]["mode"],
        code=code("embed_reference.py", "labels", "learning"),
    message:
        "Reading the training sequences with the saved {wildcards.model}, to measure distances to them"
    script:
        "../../scripts/embed_reference.py"


rule package:
    input:
        unpack(model_backbone),
        unpack(reference_of),
        tokens=tokens_of,
        label_map="<results>/labels/label_map.json",
        weights=packaged_weights,
        runs=lambda wildcards: fold_files("run.json", [wildcards.model]),
        scores=lambda wildcards: fold_files("scores.npz", [wildcards.model]),
        metrics=lambda wildcards: fold_files("metrics.tsv", [wildcards.model]),
    output:
        folder=directory("<results>/final/{model}"),
    log:
        "<logs>/package/{model}.log",
    benchmark:
        "<benchmarks>/package/{model}.tsv"
    conda:
        f"../../envs/train-{config['training_environment']}.yaml"
    threads: 1
    resources:
        mem_mb=asked("package", "mem_mb"),
        runtime=asked("package", "runtime"),
    params:
        **JUDGING,
        model="{model}",
        settings=model_settings,
        seed=config["seed"],
        mode=config["packaging"]["mode"],
        light=config["packaging"]["light"],
        task=TASK_NAMED,
        code=code("package_model.py", "judging"),
    message:
        "Saving {wildcards.model} with its calibration and card"
    script:
        "../../scripts/package_model.py"


rule name_query:
    input:
        query=config["query"] or [],
        models=final_models(),
        runs=fold_files("run.json", ENGINES),
        metrics="<results>/metrics.tsv",
    output:
        **{
            name: f"<results>/predictions/{{query}}.{name}.tsv"
            for name in (*TASK.prediction_tables, *TASK.other_forms)
        },
        names="<results>/predictions/{query}.tsv",
    log:
        "<logs>/predictions/{query}.log",
    benchmark:
        "<benchmarks>/predictions/{query}.tsv"
    conda:
        f"../../envs/train-{config['training_environment']}.yaml"
    threads: 1
    resources:
        mem_mb=asked("name_query", "mem_mb"),
        runtime=asked("name_query", "runtime"),
        # Names are given on one GPU, however many trained.
        gpu=min(1, max((config["models"][name]["resources"]["gpu"] for name in PACKAGED), default=0)),
        gpu_mem_mb=asked("name_query", "gpu_mem_mb"),
        gpu_model=card("name_query"),
        nodes=1,
    params:
        models=PACKAGED,
        engines=ENGINES,
        wanted=config["predict_with"],
        filter=config["filter"],
        top_k=config["metrics"]["top_k"],
        task=TASK_NAMED,
        code=code("name_query.py", "learning", "judging", "baselines"),
    message:
        "Naming the sequences of {input.query}"
    script:
        "../../scripts/name_query.py"
