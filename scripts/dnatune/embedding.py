"""One vector per sequence: a backbone's hidden states, pooled, averaged over windows and views; nothing is trained.

In: token rows of a run and a model's settings, or a model that a run has saved. Out: a parquet file, id and vector.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from dnatune import files, tuning
from dnatune.averaging import row_weights
from dnatune.errors import UserError
from dnatune.fold_training import views_at_prediction
from dnatune.hardware import choose_precision
from dnatune.inference import embeddings
from dnatune.inputs import TokenInputs
from dnatune.saved_models import load_model
from dnatune.tokens import TokenTable

LOGGER = logging.getLogger("dnatune")
SEQUENCES_AT_ONCE = 20_000


def embedder(settings: dict[str, Any], seed: int, pooling: str | None, saved: str | Path | None) -> torch.nn.Module:
    """Return a model with ``embed``: the backbone as published, or the one ``saved`` by a run.

    ``pooling`` None takes the model's own. Raises UserError where the hidden states cannot be pooled.
    """
    if saved is None:
        wanted = pooling or settings["pooling"]
        model = tuning.base_model({**settings, "pooling": wanted}, {"none": 0, "any": 1}, seed)
    else:
        model = load_model(saved, settings["head"]["per_token"])
    if not hasattr(model, "embed"):
        raise UserError(
            "Configuration key 'embedding.pooling': with the architecture's own head there is no pooled vector; "
            "expected mean, cls or last."
        )
    if pooling:
        model.config.pooling = pooling
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def write_embeddings(
    model: torch.nn.Module, table: TokenTable, pad_id: int, ids: pa.Array, settings: dict[str, Any], path: str | Path
) -> int:
    """Write ``path`` (parquet: id text, vector float32 list of fixed size); return the size of the vectors.

    ``ids`` (records,) in the order of the token table. A vector is the mean over the views that prediction
    averages, and over the windows of each.
    """
    inputs = TokenInputs(table, pad_id)
    views = views_at_prediction(settings, table)
    precision = choose_precision(settings["training"]["precision"])
    size = model.config.backbone.hidden_size
    schema = pa.schema([("id", pa.string()), ("vector", pa.list_(pa.float32(), size))])
    with files.whole(path) as partial, pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        for start in range(0, len(ids), SEQUENCES_AT_ONCE):
            records = np.arange(start, min(start + SEQUENCES_AT_ONCE, len(ids)))
            rows = table.rows_of(records, views=views)
            each = np.empty((len(rows), size), dtype=np.float32)
            embeddings(model, inputs, rows, precision, each)
            position, weight = row_weights(table, records, views)
            mean = np.zeros((len(records), size))
            np.add.at(mean, position, each * weight[:, None])
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(mean.astype(np.float32).ravel()), size)
            writer.write_table(pa.table([ids.take(pa.array(records)), vectors], schema=schema))
            LOGGER.info("%d of %d sequences embedded", records[-1] + 1, len(ids))
    return size
