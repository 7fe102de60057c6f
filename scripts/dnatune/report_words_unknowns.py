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
        "rejected_at_95": metric(
            "Share rejected, 95 % of known kept",
            "Unknown sequences that would be rejected if the line were drawn so that 95 % of the known test sequences "
            "are kept; 1 minus this is the false-negative rate, the share that slips through. The same point for all "
            "models, to compare them by. Such a line is known in hindsight only: the thresholds that are used come "
            "from validation.",
        ),
        "left_out": metric(
            "Left out",
            "Sequences that are unknown by their label, but identical to, or in one cluster with, a known one. They "
            "are not scored.",
        ),
        "rejected_of_all": metric(
            "Share rejected of all", "Share rejected, where the unknown sequences left out are counted as accepted."
        ),
        "rejected_at_95_of_all": metric(
            "Share rejected of all, 95 % of known kept",
            "The same, if the line were drawn so that 95 % of the known test sequences are kept.",
        ),
        "overclassified": metric(
            "Over-classification",
            "Share of unknown sequences that get a name all the same (Murali et al. 2018). At a rank, such as "
            "overclassified@genus: of those whose genus was not trained, the share that gets the name of one.",
            False,
        ),
        "misclassified": metric(
            "Misclassification",
            "Share of known sequences that get a name, and a wrong one (Murali et al. 2018). At a rank: of the "
            "sequences whose genus, family, ... was trained.",
            False,
        ),
        "underclassified": metric(
            "Under-classification",
            "Share of known sequences whose best guess is right and that get no name: rejected, or not sure enough.",
            False,
        ),
        "accuracy_named": metric("Accuracy of the named", "Share of right names among known sequences that get one."),
        "novel": metric("New at a rank", "Sequences whose genus, family, ... is stated and was not trained."),
        "named": metric(
            "Named at a rank",
            "Share of sequences whose final answer has a name at the rank or a deeper one: sure enough, and at the "
            "labels' own rank not rejected.",
        ),
        "named_right": metric("Of these rightly", "Share of these names that are right."),
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
            "species themselves, and of all unknown sequences together, are a little too kind."
        )
    elif fitted.get("asked") == "auto":
        text += (
            " Which number is looked at was settled beforehand; with some species held out on purpose "
            "(unknowns.held_out_share) it is chosen by how well it finds those out."
        )
    return [text]


# Said of an engine, where species were held out.
WITNESS = (
    "The species held out on purpose also decided which expert's evidence the engine looks at (validation, not test): "
    "another reason why their figures, and those of all unknown sequences together, are a little too kind."
)


def result_sentence(
    model: str, kept: float, auroc: float, rejected: float, records: float, named: float, label: str = ""
) -> str:
    """Say how well unknown sequences were found out.

    ``named`` is the share of them that gets a name all the same: without ranks all that are not rejected, with ranks
    those that are sure enough of a ``label`` (species) besides.
    """
    text = f"{model} kept {_percent(kept)} of the known test sequences"
    if not math.isfinite(auroc):
        return text + ". There are no unknown sequences to try it on, so how many it would find out is not known."
    text += f" and rejected {_percent(rejected)} of {records:,.0f} unknown ones; {_percent(named)} of them got a wrong "
    text += f"{label + ' ' if label else ''}name all the same. AUROC {auroc:.3f}: "
    if auroc >= 0.95:
        return text + "unknown and known are told apart well, though not perfectly."
    if auroc >= 0.8:
        return text + "unknown and known overlap; a name that was kept is no proof that the species is a known one."
    return text + "unknown and known are hardly told apart; do not rely on the rejection here."


def set_aside(summary: Mapping[str, Any]) -> str:
    """Return a sentence on the records that were kept and not trained, empty where there are none; ``summary`` is
    that of the records."""
    rare, flagged = (int(summary.get(key) or 0) for key in ("records_known_unknown", "records_flagged"))
    given = " or without a training sequence in the given split" if summary.get("split") else ""
    parts = []
    if rare:
        parts.append(
            f"{_sequences(rare)} {'belongs' if rare == 1 else 'belong'} to classes too rare to train on{given}"
        )
    if flagged:
        parts.append(f"{_sequences(flagged)} {'is' if flagged == 1 else 'are'} marked unknown in the label table")
    if not parts:
        return ""
    them = "it" if rare + flagged == 1 else "them"
    text = (
        f" {' and '.join(parts)}: nothing was trained on {them}; “Unknown species” is measured with {them}, copies of "
    )
    return text + "known ones aside."


def _sequences(count: int) -> str:
    return f"{count:,} sequence{'' if count == 1 else 's'}"


def left_out_sentence(kind: str, model: str, figures: Mapping[str, float]) -> str:
    """Say how many unknown sequences of a kind were left out, and what the rejection would be with them.

    ``figures``: records, left_out, rejected, rejected_of_all, rejected_at_95, rejected_at_95_of_all.
    """
    count = figures["left_out"]
    text = f"{count:,.0f} more {KINDS[kind] if kind != 'all' else 'unknown'} {'is' if round(count) == 1 else 'are'} "
    text += "identical to, or in one cluster with, a known sequence and "
    text += f"{'was' if round(count) == 1 else 'were'} not scored."
    if not math.isfinite(figures["rejected"]):
        return text
    text += f" Counted as accepted, {model} rejects {figures['rejected_of_all']:.3f} of them all in place of "
    text += f"{figures['rejected']:.3f}"
    if math.isfinite(figures["rejected_at_95"]):
        text += f", and at 95 % of known kept {figures['rejected_at_95_of_all']:.3f} in place of "
        text += f"{figures['rejected_at_95']:.3f}"
    return text + "."


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
