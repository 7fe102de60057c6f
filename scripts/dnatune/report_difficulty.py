"""What the data says before anything is trained, in words: for the report's section and for a page of its own.

The files of the rule ``distances`` in; sentences, tables for reading and the text of difficulty.html out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dnatune import report, report_files
from dnatune.files import read_json
from dnatune.report_words import Sentence, counted, percent
from dnatune.spread import MOST
from dnatune.suspicious import REASONS

# A page with more rows is slow to open; the files have them all. So many names are all there to be searched for.
ROWS = 10_000
VERDICTS = {
    "same": "shares sequences",
    "nearly": "nearly the same",
    "overlap": "overlaps",
    "gap": "gap",
    "single": "spread not known",
}


@dataclass(frozen=True)
class Difficulty:
    """Tables of species and of suspicious records, and the summary, as in the files of these names."""

    species: pd.DataFrame
    suspicious: pd.DataFrame
    summary: Mapping[str, Any]

    @property
    def sentences(self) -> list[Sentence]:
        """Return the answers in words."""
        return [
            apart_sentence(self.summary),
            reach_sentence(self.summary),
            suspicious_sentence(self.summary),
            compared_sentence(self.summary),
        ]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Return the classes for reading, the closest first, at most ``ROWS``."""
        rows = self.species.head(ROWS).to_dict("records")
        return [{**row, "verdict": VERDICTS[row["verdict"]]} for row in rows]

    @property
    def suspects(self) -> list[dict[str, Any]]:
        """Return the suspicious records for reading, reason by reason, at most ``ROWS``."""
        return self.suspicious.head(ROWS).to_dict("records")

    @property
    def reasons(self) -> list[dict[str, Any]]:
        """Return reason, number of records and meaning, where there are any."""
        counts = self.summary["suspicious"]
        return [{"reason": r, "records": counts[r], "meaning": REASONS[r]} for r in REASONS if counts.get(r)]


def read(species: str | Path, suspicious: str | Path, summary: str | Path) -> Difficulty:
    """Read the three files."""
    return Difficulty(report_files.table(species), report_files.table(suspicious), read_json(summary))


def apart_sentence(summary: Mapping[str, Any]) -> Sentence:
    """Say how many classes are set apart, how many overlap, how many are the same as another or nearly so."""
    verdicts = summary["verdicts"]
    judged = summary["classes"] - verdicts["single"]
    text = (
        f"Of {counted(judged, 'name')} that can be judged, {verdicts['gap']:,} "
        f"{'is' if verdicts['gap'] == 1 else 'are'} set apart by a gap: the nearest sequence of another name is "
        "farther away than the two farthest of its own are from each other. "
        f"{verdicts['overlap']:,} {'overlaps' if verdicts['overlap'] == 1 else 'overlap'} with another name, which "
        "comes nearer than that. "
        f"{verdicts['nearly']:,} {'is' if verdicts['nearly'] == 1 else 'are'} nearly the same as another name, at most "
        f"{percent(summary['nearly_same'])} away, and {verdicts['same']:,} "
        f"{'shares' if verdicts['same'] == 1 else 'share'} a sequence, or a piece of one, with another name"
    )
    text += ": such a sequence does not say which it is." if verdicts["same"] else "."
    text += " The nearest name of each stands in the table."
    if verdicts["single"]:
        text += (
            f" {counted(verdicts['single'], 'more name')} {'has' if verdicts['single'] == 1 else 'have'} no two "
            "sequences that were compared, so how much they vary is not known."
        )
    return Sentence("Can the names be told apart?", text)


def reach_sentence(summary: Mapping[str, Any]) -> Sentence:
    """Say what the bound of identical sequences is and what the nearest sequence alone reaches."""
    bound, shared = summary["best_accuracy"], int(summary["shared_sequences"])
    text = "No sequence bears two names, so identical sequences set no limit."
    if shared:
        text = (
            f"{counted(shared, 'sequence')} {'bears' if shared == 1 else 'bear'} more than one name: nobody could name "
            f"more than {percent(bound, 2 if bound > 0.999 else 1)} of the records in trained classes rightly."
        )
    if summary["nearest_neighbour_records"]:
        text += (
            f" Giving each record the name of the most similar other sequence is right for "
            f"{percent(summary['nearest_neighbour_accuracy'])} of the {summary['nearest_neighbour_records']:,} records "
            "that have another sequence of their name to be found by. A model that stays far below has not learned "
            "what is there to learn."
        )
    return Sentence("What can be reached at best?", text)


def suspicious_sentence(summary: Mapping[str, Any]) -> Sentence:
    """Say how many records a curator should look at."""
    counts = summary["suspicious"]
    parts = [
        (counts["neighbours_of_another_name"], "lie among sequences of another name"),
        (counts["other_strand"], "fit only when read backwards"),
        (counts["same_sequence_other_name"], "have a sequence that also bears another name"),
    ]
    said = ", ".join(f"{count:,} {words}" for count, words in parts if count)
    text = f"{said}. They are listed with the evidence, and nothing was removed for it." if said else "None was found."
    return Sentence("Which records should be looked at?", text)


def compared_sentence(summary: Mapping[str, Any]) -> Sentence:
    """Say how distances were measured and what could not be compared."""
    text = (
        f"Identity is estimated from {summary['method']}, where two sequences overlap, without an alignment; of far "
        "relatives it is rough, and too high for rRNA genes. Two sequences that overlap in less than half of the "
        f"shorter, or are less than {percent(summary['min_identity'], 0)} alike, are not compared. Of a name with more "
        f"than {MOST:,} distinct sequences not all pairs are, but the most distant ones with all others."
    )
    if summary["not_comparable"]:
        text += (
            f" {counted(summary['not_comparable'], 'sequence')} {'has' if summary['not_comparable'] == 1 else 'have'} "
            "others of the same name, but none similar enough: another marker or another region. They are counted "
            "apart and say nothing about the spread of their name."
        )
    if summary["compared"] < summary["distinct_sequences"]:
        text += f" {summary['compared']:,} sequences, drawn at random, were compared with all others."
    return Sentence("How was it measured?", text)


def page(
    name: str,
    found: Difficulty,
    figures: Mapping[str, tuple[str | Path, str]],
    template: str | Path,
    css: str | Path,
    js: str | Path,
) -> str:
    """Return difficulty.html; ``figures`` are SVG files with their captions."""
    return report.page_of_its_own(figures, template, css, js, name=name, difficulty=found, metric=None)
