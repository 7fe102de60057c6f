# What this call of Snakemake set out to make, for `make status`. No rule: it says what was started, when and where.


onstart:
    write_plan(
        Path(RUN_FOLDER),
        task=config["task"],
        folds=FOLDS,
        models=list(TRAINED) if TASK.labelled else [],
        saved=PACKAGED if TASK.labelled else [],
        refit=config["packaging"]["mode"] == "refit",
        baselines=BASELINES,
        engines=ENGINES,
        tokens=list(TOKEN_SETS),
        vectors=[] if TASK.labelled else MODELS,
        parts=list(PARTS),
        curve_models=[name for name in ON_CURVE if JUDGED[name] == "models"],
        curve_baselines=[name for name in ON_CURVE if JUDGED[name] == "baselines"],
        embeddings=[model for model in TRAINED if kind_of(TRAINED[model]).needs_embeddings],
        log=log[0] if isinstance(log, list) else log,
    )
