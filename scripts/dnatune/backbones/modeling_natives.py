"""Published architectures that transformers lacks, made known to its Auto classes by importing this file.

It travels with every saved model with a head of ours, whose backbone may be one of them.
"""

from __future__ import annotations

from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from .modeling_dnabert2 import DNABert2Config, DNABert2ForSequenceClassification, DNABert2Model
from .modeling_gated_esm import GatedEsmConfig, GatedEsmForSequenceClassification, GatedEsmModel
from .modeling_rnabert import RNABertConfig, RNABertForSequenceClassification, RNABertModel

NATIVES = (
    (DNABert2Config, DNABert2Model, DNABert2ForSequenceClassification),
    (GatedEsmConfig, GatedEsmModel, GatedEsmForSequenceClassification),
    (RNABertConfig, RNABertModel, RNABertForSequenceClassification),
)
for _config, _model, _classifier in NATIVES:
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModel.register(_config, _model, exist_ok=True)
    AutoModelForSequenceClassification.register(_config, _classifier, exist_ok=True)
