# One training job per model and fold.


rule train:
    input:
        unpack(model_backbone),
        unpack(embeddings_of),
        records="<results>/records/records.parquet",
        folds="<results>/folds/folds.tsv",
        label_map="<results>/labels/label_map.json",
        tokens=tokens_of,
    output:
        weights=directory("<results>/models/{model}/fold_{fold}/weights"),
        history="<results>/models/{model}/fold_{fold}/history.tsv",
        run="<results>/models/{model}/fold_{fold}/run.json",
        scores="<results>/models/{model}/fold_{fold}/scores.npz",
    log:
        "<logs>/train/{model}/fold_{fold}.log",
    benchmark:
        "<benchmarks>/train/{model}/fold_{fold}.tsv"
    conda:
        f"../../envs/train-{config['training_environment']}.yaml"
    threads: model_threads
    resources:
        mem_mb=asked("train", "mem_mb"),
        runtime=asked("train", "runtime"),
        gpu=model_gpus,
        gpu_mem_mb=asked("train", "gpu_mem_mb"),
        gpu_model=card("train"),
        nodes=model_nodes,
        # With several nodes: the job itself starts its work on each (mpi), with as many GPUs on one as on another (gres).
        mpi=with_nodes("srun"),
        tasks=with_nodes(one_task_each),
        tasks_per_gpu=with_nodes(0),
        gres=with_nodes(gpus_of_each_node("train")),
        # A resource, for its change trains nothing again; 0 is none.
        checkpoint_minutes=checkpoint_minutes,
    params:
        model="{model}",
        fold="{fold}",
        settings=model_settings,
        task=TASK_NAMED,
        seed=config["seed"],
        distances=MEASURES_DISTANCES,
        # Not an output: Snakemake deletes the outputs of a failed job, and a killed job goes on from here.
        checkpoints=f"{RUN_FOLDER}/checkpoints/{{model}}/fold_{{fold}}",
        code=code("train_fold.py", "labels", "learning"),
    message:
        "Training {wildcards.model} on fold {wildcards.fold}; progress: {log}"
    script:
        "../../scripts/train_fold.py"
