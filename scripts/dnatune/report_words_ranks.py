"""The report's words on ranks: how deep names go, where wrong ones land, what becomes of labels never seen.

Small tables (``report_ranks``) in, sentences out.
"""

from __future__ import annotations

import math

import pandas as pd

from dnatune.rank_metrics import NOWHERE
from dnatune.report_words import counted, percent


def depth(table: pd.DataFrame, threshold: float) -> str:
    """Say how many test sequences get a name at each rank and how many of these are right, in the final answer.

    ``table`` has the rows of one model in ``report_ranks.ranks``, the label's own rank first.
    """
    if table.empty or not math.isfinite(table["named"].iloc[0]):
        return ""
    parts = []
    for row in table.to_dict("records"):
        least, meant = ("at least ", "") if parts else ("", " of these names are right")
        right = f" ({percent(row['named_right'])}{meant})" if math.isfinite(row["named_right"]) else ""
        parts.append(f"{percent(row['named'])} to {least}{_a(row['rank'])}{right}")
    text = f"Each sequence is named down to the deepest rank whose probability reaches {threshold:g}"
    if len(table) > 1:
        text += f", and no deeper than the {table['rank'].iloc[1]} where it is rejected as unknown"
    text += f": {_listed(parts)}"
    nameless = 1 - table["named"].iloc[-1]
    return text + (f"; {percent(nameless)} get no name." if nameless >= 0.0005 else ".")


def landing(table: pd.DataFrame, lowest: str) -> str:
    """Say where wrong best guesses land, named or not; ``table`` is that of ``report_ranks.mistakes``, ``lowest`` the
    label's own rank."""
    if not len(table):
        return ""
    total = int(table["count"].sum())
    if not total:
        return f"The best guess of no test sequence was a wrong {lowest}."
    parts = []
    for row in table[table["count"] > 0].to_dict("records"):
        only = "" if row["rank"] == table["rank"].iloc[0] else "only "
        place = "wrong at every rank" if row["rank"] == NOWHERE else f"{only}in the right {row['rank']}"
        parts.append(f"{row['count']:,} ({percent(row['share'], 0)}) {place}")
    guesses = counted(total, "best guess was", "best guesses were")
    return f"Whether it became a name or not, {guesses} a wrong {lowest}: {_listed(parts)}."


def unseen(table: pd.DataFrame, lowest: str) -> str:
    """Say what becomes of sequences of labels never seen, at their own rank and the one above it.

    ``table`` is that of ``report_ranks.unknowns`` for one kind or all, ``lowest`` the label's own rank.
    """
    rows = table.to_dict("records")[:2]
    if not rows or rows[0]["rank"] != lowest:
        return ""
    own, one = rows[0], _a(lowest)
    are = "is" if round(own["novel"]) == 1 else "are"
    text = f"{counted(round(own['novel']), 'sequence')} {are} of {one} the model never saw. On average over the folds, "
    text += f"{percent(own['overclassified'])} get the name of {one} all the same, which cannot be right"
    sure = f": neither a high probability nor passing as known proves that the {lowest} is one it knows."
    text += sure if own["overclassified"] > 0.2 else "."
    for row in rows[1:]:
        if row["novel"] > 0:
            text += f" The {row['rank']} of {counted(round(row['novel']), 'sequence')} is new too; "
            text += f"{percent(row['overclassified'])} get the name of {_a(row['rank'])} all the same."
        if row["records"] > 0:
            text += f" The {row['rank']} of {counted(round(row['records']), 'sequence')} is one it knows; "
            text += f"{percent(row['accuracy'])} are put there."
            if row["named"] > 0:
                text += f" Where it is sure enough to name {_a(row['rank'])} ({percent(row['named'])} of them), "
                text += f"{percent(row['named_right'])} of the names are right."
    return text


def _a(rank: str) -> str:
    return f"{'an' if rank[:1].lower() in 'aeiou' else 'a'} {rank}"


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
