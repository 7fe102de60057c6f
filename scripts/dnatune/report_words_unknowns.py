"""What the report says of unknown sequences, to a biologist: scores, kinds of unknown, figures, and their limits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ScoreWords:
    """A rejection score: its ``name``, what is ``looked`` at, and the words of an ``axis``."""

    name: str
    looked: str
    axis: str


SCORES = {
    "distance": ScoreWords(
        "distance to the named class",
        "how far the model's picture of a sequence lies from that of the nearest training sequence of the class "
        "it names",
        "cosine distance to the nearest training sequence of the predicted class",
    ),
    "nearest": ScoreWords(
        "distance to any class",
        "how far the model's picture of a sequence lies from that of the nearest training sequence of any class",
        "cosine distance to the nearest training sequence",
    ),
    "energy": ScoreWords(
        "energy",
        "the energy of the model's logits, which is low where no class answers loudly",
        "energy (minus the log of the summed exponentials of the logits)",
    ),
    "probability": ScoreWords(
        "probability",
        "how low the calibrated probability of the best guess is",
        "1 - calibrated probability of the best guess",
    ),
}
KINDS = {
    "rare": "of species too rare to train",
    "not_in_train": "of species without a training sequence in the given split",
    "held_out": "of species held out on purpose",
    "flagged": "marked unknown in the label table",
    "all": "all of them",
}


def metrics(metric: Callable[..., Any]) -> dict[str, Any]:
    """Return the words of the metrics; ``metric`` is ``report_words.Metric``."""
    named = {
        "auroc": metric(
            "AUROC, known or unknown",
            "The chance that an unknown sequence has a higher rejection score than a known one. 0.5 is guessing.",
        ),
        "rejected": metric(
            "Share rejected",
            "Sequences with a rejection score above the threshold. Of unknown ones more is better; of known ones these "
            "are the false alarms.",
        ),
        "overclassified": metric(
            "Over-classification",
            "Share of unknown sequences that get a name all the same (Murali et al. 2018).",
            False,
        ),
        "misclassified": metric(
            "Misclassification",
            "Share of known sequences that get a name, and a wrong one (Murali et al. 2018).",
            False,
        ),
        "underclassified": metric(
            "Under-classification", "Share of known sequences that would be named rightly and are rejected.", False
        ),
        "accuracy_named": metric("Accuracy of the named", "Share of right names among known sequences that get one."),
    }
    for score, words in SCORES.items():
        named[f"auroc_{score}"] = metric(f"AUROC by {words.name}", f"The same, by {words.looked}.")
        named[f"rejected_{score}"] = metric(f"Share rejected by {words.name}", f"The same, by {words.looked}.")
    return named


def threshold_sentences(fitted: Mapping[str, Any], folds: int) -> list[str]:
    """Say what the threshold means; ``fitted`` is the part ``rejection`` of a calibrator."""
    words, alarm = SCORES[fitted["score"]], float(fitted["false_alarm"])
    text = f"A sequence is rejected (called unknown, whatever its best guess) by one number: {words.looked}. "
    text += f"The threshold was set on validation sequences so that {_percent(1 - alarm)} of known ones keep their name"
    text += f"; about {_percent(alarm)} of known sequences are rejected by mistake, and that is the price. "
    text += "Lower unknowns.false_alarm to reject less, raise it to catch more."
    power = fitted.get("power") or {}
    if fitted.get("asked") == "auto" and len(power) > 1:
        listed = ", ".join(f"{SCORES[name].name} {value:.3f}" for name, value in power.items())
        listed = f"AUROC by {listed}{', in the first fold' if folds > 1 else ''}"
        text += (
            " Which number is looked at was chosen without the test part, as the one that best tells validation "
            f"sequences from those of the species held out on purpose ({listed}); so the figures of the held-out "
            "species themselves are a little too kind."
        )
    elif fitted.get("asked") == "auto":
        text += (
            " Which number is looked at was settled beforehand; with some species held out on purpose "
            "(unknowns.held_out_share) it is chosen by how well it finds those out."
        )
    return [text]


def result_sentence(model: str, kept: float, auroc: float, rejected: float, records: float) -> str:
    """Say how well unknown sequences were found out."""
    text = f"{model} kept {_percent(kept)} of the known test sequences"
    if not math.isfinite(auroc):
        return text + ". There are no unknown sequences to try it on, so how many it would find out is not known."
    text += (
        f" and rejected {_percent(rejected)} of {records:,.0f} unknown ones; {_percent(1 - rejected)} of them got a "
    )
    text += f"wrong name all the same. AUROC {auroc:.3f}: "
    if auroc >= 0.95:
        return text + "unknown and known are told apart well, though not perfectly."
    if auroc >= 0.8:
        return text + "unknown and known overlap; a name that was kept is no proof that the species is a known one."
    return text + "unknown and known are hardly told apart; do not rely on the rejection here."


LIMITS = (
    "A close relative of a known species, nearer to it than its own members are to one another, cannot be told from "
    "it.",
    "The threshold holds for sequences like those of validation: another marker, another length, another sequencing "
    "error or a far population raises false alarms.",
    "It says nothing about how many unknown species a new sample holds, and a rejected sequence is not proven new: it "
    "may be a bad read.",
    "The saved model's distances are its own: those of another model do not compare, and where it was trained on all "
    "data its threshold comes from the folds' models, which roughly agree with it.",
)


def _percent(share: float) -> str:
    value = 100 * share
    return f"{value:.0f} %" if abs(value - round(value)) < 0.05 or value >= 99.95 else f"{value:.1f} %"
