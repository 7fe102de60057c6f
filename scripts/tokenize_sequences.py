"""Turn all sequences into token rows once, for all folds and all models with this tokenizer."""

import dnatune.offline  # noqa: F401 (before transformers)
from dnatune.backbones.local_copies import located
from dnatune.job import job
from dnatune.tokens import TokenSettings, write_tokens
from dnatune.tuning import backbone_of

with job(snakemake) as log:
    params = snakemake.params
    encoder = backbone_of(located(params.backbone, snakemake.input.get("backbone"))).encoder()
    settings = TokenSettings.of(params.tokens, encoder)
    summary = write_tokens(snakemake.input.records, snakemake.output.tokens, encoder, settings)
    log.info(
        "%(records)d sequences, %(rows)d token rows (%(frames)d frames, %(strands)d strands), %(tokens)d tokens",
        summary,
    )
    if summary["longer_than_one_window"]:
        log.info(
            "%d sequences are longer than %d tokens: %s",
            summary["longer_than_one_window"],
            summary["max_tokens"],
            "cropped" if summary["long_sequences"] == "crop" else "read in windows",
        )
