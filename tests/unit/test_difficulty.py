"""How hard a data set is, from its sequences: gaps, twins, wrong names and turned records are what was planted."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from Bio.Seq import Seq

from dnatune import report_difficulty, spread
from dnatune.difficulty import measure
from dnatune.figures_difficulty import barcode_gap
from dnatune.neighbours import neighbours

LOOK = Path(__file__).parents[2] / "workflow" / "report"

SETTINGS = {"min_identity": 0.7, "records": None, "nearly_same": 0.005}


def changed(sequence, count, rng):
    """Return a sequence with ``count`` bases replaced, well apart from each other and from both ends."""
    bases = list(sequence)
    for place in np.linspace(30, len(bases) - 30, count).astype(int) if count else []:
        bases[place] = rng.choice([b for b in "ACGT" if b != bases[place]])
    return "".join(bases)


def marine(each=4, length=600, seed=0):
    """Records of five species: two far apart, two twins, one seen by two markers; id, label, sequence."""
    rng = np.random.default_rng(seed)
    far, near, twin, marker, other = ("".join(rng.choice(list("ACGT"), length)) for _ in range(5))
    rows = []
    for name, ancestor in (("far", far), ("near", near), ("near b", changed(near, 12, rng)), ("twin", twin)):
        rows += [(f"{name} {i}", name, changed(ancestor, i, rng)) for i in range(each)]
    rows += [(f"copy {i}", "twin copy", rows[-each + i][2]) for i in range(2)]
    rows += [
        ("m0", "two markers", marker),
        ("m1", "two markers", changed(marker, 3, rng)),
        ("o0", "two markers", other),
    ]
    return rows


def measured(rows, folder, flagged=(), **settings):
    ids, labels, sequences = zip(*rows, strict=True)
    unknown = ["flagged" if name in flagged else None for name in ids]
    known = [kind is None for kind in unknown]
    columns = {"id": ids, "label": labels, "sequence": sequences, "known": known, "unknown": unknown}
    pq.write_table(pa.table(columns), folder / "records.parquet")
    species, suspicious, summary = measure(folder / "records.parquet", {**SETTINGS, **settings})
    return species.set_index("label"), suspicious, summary


def test_gaps_twins_and_markers_are_told_apart(tmp_path):
    species, _, summary = measured(marine(), tmp_path)
    assert species["verdict"].to_dict() == {
        "far": "gap", "near": "gap", "near b": "gap", "twin": "same", "twin copy": "same", "two markers": "gap",
    }  # fmt: skip
    # 12 of 600 bases differ; a member may have up to 3 more of its own.
    assert species.loc["near", "between_min"] == pytest.approx(12 / 600, abs=0.004)
    assert species.loc["near", "nearest"] == "near b"
    assert species.loc["far", "within_max"] == pytest.approx(3 / 600, abs=0.002)
    assert np.isnan(species.loc["far", "between_min"])
    # The other marker is not compared, and does not widen the spread of its species.
    assert species.loc["two markers", "not_comparable"] == 1
    assert species.loc["two markers", "within_max"] == pytest.approx(3 / 600, abs=0.001)
    assert species["shared_sequences"].to_dict()["twin"] == 2 and summary["shared_sequences"] == 2
    assert summary["best_accuracy"] == pytest.approx(1 - 2 / 21)


def test_an_overlap_is_a_nearest_name_within_the_spread(tmp_path):
    rng = np.random.default_rng(1)
    ancestor = "".join(rng.choice(list("ACGT"), 600))
    rows = [("a0", "a", ancestor), ("a1", "a", changed(ancestor, 12, rng)), ("b0", "b", changed(ancestor, 5, rng))]
    species, _, _ = measured(rows, tmp_path)
    assert species["verdict"].to_dict() == {"a": "overlap", "b": "single"}


def differences(one, two):
    return sum(a != b for a, b in zip(one, two, strict=True))


def test_the_spread_is_that_of_the_two_farthest_sequences_of_a_name(tmp_path):
    # P has two lineages 65 of 650 bases apart, each seen twice; Q lies 20 bases from one of them.
    rng = np.random.default_rng(0)

    def mutated(sequence, count):
        bases = list(sequence)
        for place in rng.choice(len(bases), count, replace=False):
            bases[place] = rng.choice([b for b in "ACGT" if b != bases[place]])
        return "".join(bases)

    base = "".join(rng.choice(list("ACGT"), 650))
    far, near = mutated(base, 65), mutated(base, 20)
    rows = [(f"p{i}", "P", mutated(ancestor, 1)) for i, ancestor in enumerate([base, base, far, far])]
    rows += [(f"q{i}", "Q", mutated(near, 1)) for i in range(2)]
    sequences = [row[2] for row in rows]
    species, _, summary = measured(rows, tmp_path)
    assert species["verdict"].to_dict() == {"P": "overlap", "Q": "gap"}
    assert summary["verdicts"] == {"same": 0, "nearly": 0, "overlap": 1, "gap": 1, "single": 0}
    apart = max(differences(one, two) for one in sequences[:2] for two in sequences[2:4])
    assert species.loc["P", "within_max"] == pytest.approx(apart / 650, abs=0.012)
    assert species.loc["P", "within_nearest"] == pytest.approx(2 / 650, abs=0.001)
    between = min(differences(one, two) for one in sequences[:4] for two in sequences[4:])
    assert species.loc["Q", "between_min"] == pytest.approx(between / 650, abs=0.004)


@pytest.mark.parametrize(("bases", "verdict"), [(0, "same"), (1, "nearly"), (3, "nearly"), (5, "gap")])
def test_names_that_differ_in_hardly_a_base_are_nearly_the_same(tmp_path, bases, verdict):
    rng = np.random.default_rng(5)
    ancestor = "".join(rng.choice(list("ACGT"), 650))
    other = changed(ancestor, bases, rng)
    rows = [("p0", "P", ancestor), ("p1", "P", ancestor), ("q0", "Q", other), ("q1", "Q", other)]
    species, _, summary = measured(rows, tmp_path)
    assert set(species["verdict"]) == {verdict} and species.loc["P", "nearest"] == "Q"
    assert summary["verdicts"][verdict] == 2
    # A base lies in ten of the 641 k-mers.
    assert species.loc["P", "between_min"] == pytest.approx(1 - (1 - 10 * bases / 641) ** 0.1, abs=1e-6)
    assert species.loc["P", "within_max"] == 0
    strict, _, _ = measured(rows, tmp_path, nearly_same=0)
    assert set(strict["verdict"]) == {"gap" if bases else "same"}


def test_sequences_of_shifted_regions_are_compared_where_they_overlap(tmp_path):
    rng = np.random.default_rng(6)
    gene = "".join(rng.choice(list("ACGT"), 1400))
    # Of P three regions: the second overlaps the first in 400 of 600 bases and differs in 4 of them; the third overlaps
    # the second in 200, less than half.
    second = gene[200:230] + changed(gene[230:570], 4, rng) + gene[570:800]
    rows = [("p0", "P", gene[:600]), ("p1", "P", second), ("p2", "P", gene[600:1200])]
    rows += [(f"q{i}", "Q", changed(gene[:600], 12, rng)) for i in range(2)]
    species, _, _ = measured(rows, tmp_path)
    # 4 places, each in ten of the 391 k-mers that lie in both.
    expected = 1 - ((391 - 40) / 391) ** 0.1
    assert species.loc["P", ["within_max", "within_nearest"]].tolist() == pytest.approx([expected] * 2, abs=1e-6)
    assert species.loc["P", "not_comparable"] == 1 and species.loc["P", "verdict"] == "gap"
    # And of another name: Q as p1, shifted by 200 bases.
    rows = [("p0", "P", gene[:600]), ("q0", "Q", second), ("q1", "Q", second)]
    species, _, _ = measured(rows, tmp_path)
    assert species.loc["Q", "between_min"] == pytest.approx(expected, abs=1e-6)


def test_a_pair_counts_for_both_of_its_names(tmp_path):
    # Q is P where they overlap, 450 of 650 bases; four of R, 2 % away, leave no place for Q among the nearest of P.
    rng = np.random.default_rng(8)
    gene = "".join(rng.choice(list("ACGT"), 1000))
    rows = [("p0", "P", gene[:650]), ("p1", "P", changed(gene[:650], 1, rng)), ("q0", "Q", gene[200:850])]
    rows += [(f"r{i}", "R", changed(gene[:650], 13 + i, rng)) for i in range(4)]
    species, _, _ = measured(rows, tmp_path)
    assert species.loc["Q", ["between_min", "nearest", "verdict"]].tolist() == [0, "P", "same"]
    assert species.loc["P", ["between_min", "nearest", "verdict"]].tolist() == [0, "Q", "same"]
    # Of whichever sequences are asked: no name is farther from its neighbour than that says.
    for most in range(1, len(rows)):
        some, _, _ = measured(rows, tmp_path, records=most)
        for name, row in some[some["nearest"] != ""].iterrows():
            assert some.loc[row["nearest"], "between_min"] <= row["between_min"], name


def test_of_a_large_class_the_odd_one_out_is_found(monkeypatch, tmp_path):
    rng = np.random.default_rng(7)
    ancestor = "".join(rng.choice(list("ACGT"), 600))
    rows = [(f"a{i}", "a", changed(ancestor, i % 12, rng)) for i in range(40)]
    rows[23] = ("odd", "a", changed(ancestor, 30, rng))
    all_pairs, _, _ = measured(rows, tmp_path)
    monkeypatch.setattr(spread, "MOST", 14)  # 196 pairs: 4 sequences of about 40 with all others
    some, _, _ = measured(rows, tmp_path)
    assert some.loc["a", "within_nearest"] == all_pairs.loc["a", "within_nearest"]
    assert some.loc["a", "within_max"] == pytest.approx(all_pairs.loc["a", "within_max"], rel=0.05)


def test_a_wrong_name_and_a_turned_record_are_listed_with_their_evidence(tmp_path):
    rows = [row for row in marine(each=6) if not row[0].startswith("copy")]
    wrong = next(i for i, row in enumerate(rows) if row[0] == "far 2")
    rows[wrong] = ("wrong", "near", rows[wrong][2])
    turned = next(i for i, row in enumerate(rows) if row[0] == "twin 3")
    rows[turned] = ("turned", "twin", str(Seq(rows[turned][2]).reverse_complement()))
    # Its own species must be similar enough to be compared: one in between.
    near = next(row[2] for row in rows if row[0] == "near 0")
    far = rows[wrong][2]
    rows.append(("chimera", "near", far[:330] + near[330:]))
    _, suspicious, summary = measured(rows, tmp_path)
    found = suspicious.set_index("id")
    assert found["reason"].to_dict() == {"wrong": "neighbours_of_another_name", "turned": "other_strand"}
    assert (
        found.loc["wrong", "evidence"].startswith("nearest: far (far ") and "chimera" in found.loc["wrong", "evidence"]
    )
    assert found.loc["turned", "evidence"].startswith("backwards: twin (twin ")
    assert found.loc["turned", "evidence"].endswith("as given: nothing similar")
    assert summary["suspicious"]["other_strand"] == 1


def test_records_that_resemble_turned_ones_only_are_not_turned(tmp_path):
    rng = np.random.default_rng(2)
    ancestor = "".join(rng.choice(list("ACGT"), 600))
    rows = [(f"a{i}", "a", changed(ancestor, i, rng)) for i in range(5)]
    rows += [(f"b{i}", "b", str(Seq(changed(ancestor, 10 + i, rng)).reverse_complement())) for i in range(3)]
    _, suspicious, _ = measured(rows, tmp_path)
    assert suspicious["id"].tolist() == ["b0", "b1", "b2"] and set(suspicious["reason"]) == {"other_strand"}


def test_the_same_sequence_under_two_names_is_listed_for_both(tmp_path):
    _, suspicious, _ = measured(marine(), tmp_path)
    assert set(suspicious["id"]) == {"twin 0", "twin 1", "copy 0", "copy 1"}
    assert set(suspicious["reason"]) == {"same_sequence_other_name"}
    assert suspicious.set_index("id").loc["copy 1", "evidence"] == "identical: twin (twin 1)"


def test_of_many_records_only_some_are_asked(tmp_path):
    species, _, summary = measured(marine(), tmp_path, records=5)
    assert summary["compared"] == species["compared"].sum() == 5
    not_asked = species[(species["compared"] == 0) & (species["shared_sequences"] == 0)]
    assert len(not_asked) and set(not_asked["verdict"]) == {"single"}


def test_neighbours_are_those_of_all_pairs():
    rng = np.random.default_rng(3)
    label = np.repeat(np.arange(6), 5)
    ancestor = "".join(rng.choice(list("ACGT"), 300))
    sequences = [changed(ancestor, int(n), rng) for n in rng.integers(1, 25, 30)]
    found = neighbours(sequences, label, np.arange(30), 0.5)
    kmers = [{s[i : i + 10] for i in range(len(s) - 9)} for s in sequences]
    for i in range(30):
        alike = [(len(kmers[i] & kmers[j]) / min(len(kmers[i]), len(kmers[j]))) ** 0.1 for j in range(30)]
        own = max(alike[j] for j in range(30) if j != i and label[j] == label[i])
        others = sorted((alike[j] for j in range(30) if label[j] != label[i]), reverse=True)[:3]
        assert found.own[i] == pytest.approx(own, abs=1e-6)
        assert found.other[i] == pytest.approx(others, abs=1e-6)
    two = neighbours(sequences, label, np.arange(30), 0.5, threads=2)
    assert np.array_equal(two.own, found.own) and np.array_equal(two.other_place, found.other_place)


def test_a_record_marked_unknown_bears_no_name_to_be_told_apart(tmp_path):
    # Marked as unknown, and called by the genus of a species that it is identical to.
    marked = [("u0", "genus", marine()[0][2]), ("u1", "genus", marine()[5][2])]
    plain, found = measured(marine(), tmp_path), measured([*marked, *marine()], tmp_path, flagged=("u0", "u1"))
    pd.testing.assert_frame_equal(found[0], plain[0])
    assert found[2] == plain[2]


def test_the_page_says_what_was_found(tmp_path):
    rows = [*marine(), ("evil", "<script>alert(1)</script>", marine()[0][2])]
    species, suspicious, summary = measured(rows, tmp_path)
    found = report_difficulty.Difficulty(species.reset_index(), suspicious, summary)
    template, css, js = (LOOK / name for name in ("difficulty.html.j2", "report.css", "report.js"))
    html = report_difficulty.page("marine", found, {}, template, css, js)
    assert "<script>alert" not in html and "&lt;script&gt;alert(1)" in html
    assert "3 sequences bear more than one name" in html and "shares sequences" in html
    assert "1 sequence has others of the same name, but none similar enough" in html
    _, _, wide = measured(rows, tmp_path, nearly_same=0.025)
    text = report_difficulty.apart_sentence(wide).text
    assert "2 are nearly the same as another name, at most 2.5 % away, and 4 share a sequence" in text


def test_the_figure_has_a_point_for_each_name_that_has_a_neighbour(tmp_path):
    species, _, _ = measured(marine(), tmp_path)
    figure = barcode_gap(species.reset_index())
    points = sum(len(c.get_offsets()) for axes in figure.axes for c in axes.collections)
    assert points == species["between_min"].notna().sum()
    none = pd.DataFrame({"between_min": [np.nan], "within_max": [0.1], "verdict": ["gap"]})
    assert "No two names" in barcode_gap(none).axes[0].texts[0].get_text()
