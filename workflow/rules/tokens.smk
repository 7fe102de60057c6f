# Tokens, once for all folds and all models that share a tokenizer; embeddings, once for all folds of a probe.


rule tokens:
    input:
        records="<results>/records/records.parquet",
    output:
        tokens=directory("<results>/tokens/{token_set}"),
    log:
        "<logs>/tokens/{token_set}.log",
    benchmark:
        "<benchmarks>/tokens/{token_set}.tsv"
    conda:
        f"../../envs/train-{config['training_environment']}.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        backbone=lambda wildcards: TOKEN_SETS[wildcards.token_set]["backbone"],
        tokens=lambda wildcards: TOKEN_SETS[wildcards.token_set]["tokens"],
        code=code("tokenize_sequences.py"),
    message:
        "Tokenizing all sequences for {wildcards.token_set}"
    script:
        "../../scripts/tokenize_sequences.py"


rule embeddings:
    input:
        tokens=tokens_of,
        label_map="<results>/labels/label_map.json",
    output:
        embeddings="<results>/embeddings/{model}.npy",
    log:
        "<logs>/embeddings/{model}.log",
    benchmark:
        "<benchmarks>/embeddings/{model}.tsv"
    conda:
        f"../../envs/train-{config['training_environment']}.yaml"
    threads: model_threads
    resources:
        mem_mb=model_resource("mem_mb"),
        runtime=model_resource("runtime"),
        gpu=model_resource("gpu"),
    params:
        model="{model}",
        settings=embedding_settings,
        task=TASK_NAMED,
        seed=config["seed"],
        code=code("embed_backbone.py"),
    message:
        "Embedding all sequences with the frozen backbone of {wildcards.model}"
    script:
        "../../scripts/embed_backbone.py"
