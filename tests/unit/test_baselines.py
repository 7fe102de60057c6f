import itertools
import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import log_softmax, softmax
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB

from dnatune import baselines, config, kmer_search, top_hit
from dnatune import kmers as kmers_module
from dnatune.baseline_programs import runnable
from dnatune.baselines import METHODS, naive_bayes_logits
from dnatune.errors import UserError
from dnatune.fold_data import load_fold, load_sequences, load_vectors
from dnatune.kmers import kmer_matrix, kmer_places
from dnatune.tasks import task

HOSTILE = ["ACGTACGTNNACGT", "", "AC", "N" * 30, "ACGTNACGT" * 5, "TTTTTTTT", "ACG"]


def baseline_logits(name, *given, **settings):
    """Run one of the baselines by its name."""
    return baselines.baseline_logits(name, METHODS[name], *given, **settings)


def random_sequence(rng, length):
    return "".join(rng.choice(list("ACGT"), length))


def barcodes(classes=5, each=8, length=300, seed=0):
    """Sequences of ``classes`` species, 4 % of the bases changed within a species."""
    rng = np.random.default_rng(seed)
    sequences, labels = [], []
    for label in range(classes):
        ancestor = np.array(list(random_sequence(rng, length)))
        for _ in range(each):
            changed = np.where(rng.random(length) < 0.04, rng.choice(list("ACGT"), length), ancestor)
            sequences.append("".join(changed))
            labels.append(label)
    return sequences, np.array(labels)


@pytest.mark.parametrize("k", [1, 3, 6])
@pytest.mark.parametrize("binary", [True, False])
def test_kmers_are_those_of_count_vectorizer(k, binary, monkeypatch):
    monkeypatch.setattr(kmers_module, "BLOCK_BASES", 100)
    rng = np.random.default_rng(0)
    sequences = HOSTILE + [random_sequence(rng, n) for n in (5, 99, 101, 400)]
    words = ["".join(p) for p in itertools.product("ACGT", repeat=k)]
    reference = CountVectorizer(analyzer="char", ngram_range=(k, k), lowercase=False, vocabulary=words, binary=binary)
    found = kmer_matrix(sequences, k, binary)
    assert found.shape == (len(sequences), 4**k)
    assert np.array_equal(found.toarray(), reference.transform(sequences).toarray())


def test_places_are_those_where_kmers_first_begin(monkeypatch):
    monkeypatch.setattr(kmers_module, "BLOCK_BASES", 100)
    rng = np.random.default_rng(0)
    sequences = HOSTILE + [random_sequence(rng, n) for n in (5, 99, 101, 400)]
    found = kmer_places(sequences, 3).toarray()
    words = ["".join(p) for p in itertools.product("ACGT", repeat=3)]
    assert np.array_equal(found, [[sequence.upper().find(word) + 1 for word in words] for sequence in sequences])


def test_no_sequences_are_an_empty_table():
    assert kmer_matrix([], 4).shape == kmer_places([], 4).shape == (0, 256)


@pytest.mark.parametrize("alpha", [0.01, 1.0])
def test_naive_bayes_is_multinomial_nb(alpha):
    sequences, labels = barcodes(classes=6, each=5)
    labels = np.where(labels == 5, 0, labels)
    train, query = kmer_matrix(sequences[::2], 5), kmer_matrix([*sequences[1::2], *HOSTILE], 5)
    expected = MultinomialNB(alpha=alpha).fit(train.toarray(), labels[::2])
    found = naive_bayes_logits(train, labels[::2], query, 5, alpha)
    joint = expected.predict_joint_log_proba(query.toarray())
    assert np.allclose(found, joint - joint.max(axis=1, keepdims=True), rtol=1e-6, atol=1e-4)
    assert np.allclose(softmax(found, axis=1), expected.predict_proba(query.toarray()), atol=1e-5)


@pytest.mark.parametrize("method", ["naive_bayes", "logistic_regression"])
def test_kmer_methods_name_species_with_a_missing_class_and_hostile_queries(method):
    sequences, labels = barcodes()
    labels = labels + (labels >= 2)
    logits = baseline_logits(method, sequences[::2], labels[::2], [*sequences[1::2], *HOSTILE], classes=6)
    own = logits[: len(labels[1::2])]
    assert logits.shape == (20 + len(HOSTILE), 6) and logits.dtype == np.float32 and np.isfinite(logits).all()
    assert (own.argmax(axis=1) == labels[1::2]).mean() >= 0.95
    assert (own.argmin(axis=1) == 2).all()


@pytest.mark.parametrize("method", ["logistic_regression", "naive_bayes", "majority"])
def test_two_classes_and_one_class_work(method):
    sequences, labels = barcodes(classes=2)
    logits = baseline_logits(method, sequences[::2], labels[::2], sequences[1::2], classes=2)
    assert logits.shape == (8, 2)
    if method != "majority":
        assert (logits.argmax(axis=1) == labels[1::2]).all()
    alone = baseline_logits(method, sequences[:4], np.ones(4, int), sequences[4:6], classes=2)
    assert (alone.argmax(axis=1) == 1).all()


def test_same_seed_same_logits_other_seed_other_logits():
    sequences, labels = barcodes()
    a, b, c = (baseline_logits("logistic_regression", sequences, labels, sequences[:5], 5, seed=s) for s in (1, 1, 2))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_majority_gives_the_frequencies():
    logits = baseline_logits("majority", ["A"] * 7, np.array([0, 0, 0, 0, 1, 1, 1]), ["C", "G"], 3)
    assert np.allclose(softmax(logits, axis=1), [[0.5, 0.4, 0.1]] * 2, atol=1e-6)


def test_vectors_are_standardised_so_that_units_do_not_matter():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    vectors = np.eye(3)[labels] + rng.normal(0, 0.2, (60, 3))
    run = lambda v: baseline_logits("vector_logistic_regression", v[:40], labels[:40], v[40:], 3)  # noqa: E731
    plain = run(np.column_stack([vectors, np.ones(60)]))
    assert (plain.argmax(axis=1) == labels[40:]).mean() >= 0.9
    scaled = run(np.column_stack([vectors * [1, 1000, 0.01] + [5, 0, 0], np.ones(60)]))
    assert np.allclose(log_softmax(plain, axis=1), log_softmax(scaled, axis=1), atol=1e-2)


@pytest.mark.skipif(shutil.which("vsearch") is None, reason="vsearch is not installed")
def test_top_hit_is_100_times_the_best_identity_per_class():
    rng = np.random.default_rng(0)
    one, two, far = (random_sequence(rng, 200) for _ in range(3))
    changed = one[:100] + ("A" if one[100] != "A" else "C") + one[101:]
    logits = baseline_logits(
        "vsearch_top_hit", [changed, one, two], np.array([0, 1, 2]), [one, far, ""], 4, {"min_identity": 0.8}
    )
    assert logits[0].tolist() == [pytest.approx(99.5), 100, 79, 79]
    assert (logits[1:] == 79).all()


@pytest.mark.skipif(shutil.which("vsearch") is None, reason="vsearch is not installed")
def test_a_query_that_occurs_again_is_searched_once_and_answered_each_time(monkeypatch):
    rng = np.random.default_rng(1)
    one, two = (random_sequence(rng, 150) for _ in range(2))
    written, write = [], top_hit._write_fasta
    monkeypatch.setattr(top_hit, "_write_fasta", lambda path, given: (written.append(list(given)), write(path, given)))
    logits = baseline_logits("vsearch_top_hit", [one, two], np.array([0, 1]), [two, one, two, one, two], 2)
    assert written == [[one, two], [two, one]]
    assert logits.tolist() == [[69, 100], [100, 69], [69, 100], [100, 69], [69, 100]]


def test_without_vsearch_the_remedy_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"vsearch is not on the PATH.*install"):
        baseline_logits("vsearch_top_hit", ["ACGT"], np.array([0]), ["ACGT"], 2)


def test_kmer_top_hit_is_100_times_the_identity_that_shared_kmers_stand_for():
    rng = np.random.default_rng(0)
    one, two, far = (random_sequence(rng, 200) for _ in range(3))
    changed = one[:100] + ("A" if one[100] != "A" else "C") + one[101:]
    train, labels = [changed, one, two], np.array([0, 1, 2])
    logits = baseline_logits("kmer_top_hit", train, labels, [one, one[40:160], far, ""], 4, {"k": 10})
    # One base of 200 takes 10 of the 191 k-mers, of the 120 bases in the middle 10 of 111.
    assert logits[0].tolist() == [pytest.approx(100 * (181 / 191) ** 0.1), 100, 69, 69]
    assert logits[1].tolist() == [pytest.approx(100 * (101 / 111) ** 0.1), 100, 69, 69]
    assert (logits[2:] == 69).all()


def test_kmer_top_hit_in_small_blocks_is_the_same(monkeypatch):
    sequences, labels = barcodes()
    whole = baseline_logits("kmer_top_hit", sequences[::2], labels[::2], sequences[1::2], 5)
    monkeypatch.setattr(kmer_search, "BLOCK_BYTES", 300)
    assert np.array_equal(whole, baseline_logits("kmer_top_hit", sequences[::2], labels[::2], sequences[1::2], 5))
    assert (whole.argmax(axis=1) == labels[1::2]).all()


@pytest.mark.skipif(shutil.which("blastn") is None, reason="BLAST is not installed")
def test_blast_top_hit_is_the_share_of_identical_bases_of_the_shorter_sequence():
    rng = np.random.default_rng(0)
    one, two, far = (random_sequence(rng, 200) for _ in range(3))
    changed = one[:100] + ("A" if one[100] != "A" else "C") + one[101:]
    half = one[:150] + random_sequence(rng, 50)
    train, labels = [changed, one, two, half], np.array([0, 1, 2, 3])
    logits = baseline_logits("blast_top_hit", train, labels, [one, far, one[:120]], 5)
    assert logits[0, :3].tolist() == [pytest.approx(99.5), 100, 69] and 75 <= logits[0, 3] < 79 and logits[0, 4] == 69
    assert (logits[1] == 69).all()
    assert logits[2, 1] == 100 and logits[2, 3] == 100


@pytest.mark.skipif(shutil.which("vsearch") is None, reason="vsearch is not installed")
def test_sintax_gives_its_proportions_and_the_rest_to_all_others():
    sequences, labels = barcodes(length=400)
    logits = baseline_logits("sintax", sequences[::2], labels[::2], sequences[1::2], 7)
    probabilities = np.exp(logits)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-4)
    assert (logits.argmax(axis=1) == labels[1::2]).all() and probabilities.max() == pytest.approx(101 / 102)
    second = np.sort(probabilities, axis=1)[:, :-1]
    assert np.allclose(second, second[:, :1])
    assert np.array_equal(logits, baseline_logits("sintax", sequences[::2], labels[::2], sequences[1::2], 7))
    assert np.allclose(np.exp(baseline_logits("sintax", sequences, labels, ["A"], 5)), 0.2)


@pytest.mark.parametrize(("method", "package"), [("blast_top_hit", "ncbi-blast"), ("sintax", "apt install vsearch")])
def test_without_its_program_a_method_says_how_to_get_it(method, package, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=rf"for the method {method}; .*{package}"):
        baseline_logits(method, ["ACGT"], np.array([0]), ["ACGT"], 2)


def test_a_missing_program_leaves_its_methods_out_or_has_them_replaced():
    assert runnable(["majority", "vsearch_top_hit"], []) == (["majority", "vsearch_top_hit"], [])
    run, notes = runnable(["majority", "vsearch_top_hit", "sintax", "blast_top_hit"], ["vsearch"])
    assert run == ["majority", "kmer_top_hit", "blast_top_hit"]
    assert notes == [
        "vsearch_top_hit: vsearch is not installed, kmer_top_hit (shared k-mers) takes its place",
        "sintax: vsearch is not installed",
    ]
    assert runnable(["kmer_top_hit", "vsearch_top_hit"], ["vsearch"])[0] == ["kmer_top_hit"]


def test_methods_on_request_do_not_run_by_themselves():
    given = {"name": "x", "data": {"sequences": "a", "labels": "b"}, "models": {"m": {"backbone": "builtin:nt-mini"}}}
    methods = config.resolve(given)["baselines"]["methods"]
    assert methods == ["majority", "naive_bayes", "logistic_regression", "vsearch_top_hit"]
    given["baselines"] = {"methods": ["sintax", "blast_top_hit", "kmer_top_hit"]}
    assert config.resolve(given)["baselines"]["kmer_top_hit"] == METHODS["kmer_top_hit"].defaults


def test_wrong_settings_are_said_with_the_known_ones():
    with pytest.raises(UserError, match="no setting 'beta', expected k, alpha"):
        baseline_logits("naive_bayes", ["A"], np.array([0]), ["A"], 2, {"beta": 1})
    assert set(METHODS["logistic_regression"].defaults) > {"k"}


@pytest.fixture
def run_folder(tmp_path):
    records = {
        "id": ["r1", "NA", "r3", "r4", "r5"],
        "sequence": ["AAAA", "CCCC", "GGGG", "TTTT", "ACGT"],
        "label": ["b", "a", "rare", "a", "b"],
        "known": [True, True, False, True, True],
        "group": [0, 1, 2, 3, 4],
        "vector": pa.array([[float(i), 1.0] for i in range(5)], pa.list_(pa.float32(), 2)),
    }
    pq.write_table(pa.table(records), tmp_path / "records.parquet", row_group_size=2)
    (tmp_path / "label_map.json").write_text(json.dumps({"label2id": {"a": 0, "b": 1}}))
    rows = [(0, "r5", "train"), (0, "NA", "train"), (0, "r1", "test"), (0, "r4", "validation")]
    rows += [(1, i, "train" if i != "NA" else "test") for i in ("r1", "NA", "r4", "r5")]
    pd.DataFrame(rows, columns=["fold", "id", "role"]).to_csv(tmp_path / "folds.tsv", sep="\t", index=False)
    return tmp_path


def read(folder, fold):
    return load_fold(
        folder / "records.parquet", folder / "folds.tsv", folder / "label_map.json", fold, task("multiclass")
    )


def test_a_fold_is_read_in_the_order_of_the_records(run_folder):
    fold = read(run_folder, 0)
    assert fold.classes == ["a", "b"]
    assert fold.train.tolist() == [1, 4] and fold.test.tolist() == [0] and fold.unknown.tolist() == [2]
    assert fold.labels.tolist() == [1, 0, -1, 0, 1]
    assert fold.ids[fold.scored].tolist() == ["r4", "r1", "r3"]
    assert fold.scored_roles.tolist() == ["validation", "test", "unknown"]
    assert load_sequences(run_folder / "records.parquet", fold.train) == ["CCCC", "ACGT"]
    assert load_vectors(run_folder / "records.parquet", fold.scored).tolist() == [[3, 1], [0, 1], [2, 1]]
    assert read(run_folder, 1).validation.tolist() == []


def test_a_rare_record_that_stands_under_a_known_name_too_is_no_unknown(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"id": list("abcd"), "label": ["x", "x", "rare", "alone"], "known": [True, True, False, False]}
    pq.write_table(pa.table({**columns, "group": [0, 1, 1, 2]}), tmp_path / "r.parquet")
    (tmp_path / "f.tsv").write_text("fold\tid\trole\n0\ta\ttrain\n0\tb\ttest\n")
    (tmp_path / "l.json").write_text('{"label2id": {"x": 0}, "id2label": {"0": "x"}}')
    fold = load_fold(tmp_path / "r.parquet", tmp_path / "f.tsv", tmp_path / "l.json", 0, task("multiclass"))
    assert fold.unknown.tolist() == [3]  # c is the same sequence as b: a model has seen it


def test_folds_that_do_not_fit_the_records_are_refused(run_folder):
    with pytest.raises(UserError, match=r"no fold 7, found \[0, 1\]"):
        read(run_folder, 7)
    table = pd.read_csv(run_folder / "folds.tsv", sep="\t", keep_default_na=False)
    table[table["id"] != "r4"].to_csv(run_folder / "folds.tsv", sep="\t", index=False)
    with pytest.raises(UserError, match="has 3 rows, expected each of the 4 known records"):
        read(run_folder, 0)
    table.replace("r4", "ghost").to_csv(run_folder / "folds.tsv", sep="\t", index=False)
    with pytest.raises(UserError, match="ghost"):
        read(run_folder, 0)
