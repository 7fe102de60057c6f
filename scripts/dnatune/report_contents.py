"""What a report may hold: the titles of all figures, and of all sections that a task can ask for."""

from __future__ import annotations

from dataclasses import dataclass

FIGURES = {
    "class_balance": "Class balance",
    "folds": "Records of each role in each fold",
    "barcode_gap": "How far names are from each other and from themselves",
    "model_comparison": "Models against baselines on the test parts",
    "more_data": "How good each model is with how many training sequences",
    "learning_curves": "Learning curves with the train-validation gap",
    "precision_recall": "Precision-recall curves on the test parts",
    "reliability": "Reliability before and after calibration",
    "prediction_sets": "Sets of names: is the promise kept, and how long are they",
    "confusions": "The most frequent confusions",
    "per_class_f1_vs_size": "F1 of each class against its size",
    "unknown_scores": "Rejection scores of known and unknown sequences",
    "named_accuracy": "Accuracy against the share of sequences that get a name",
    "label_balance": "Records of each label",
    "label_pr_auc": "PR-AUC of each label",
    "target_distribution": "How the measured values are distributed",
    "predicted_measured": "Predicted against measured values on the test parts",
    "interval_coverage": "Values within their prediction interval",
    "base_balance": "Bases of each label",
    "label_f1": "F1 of each label, counted in bases",
    "label_confusions": "Which label the bases of each label get",
    "ranks": "Names at every rank, and where wrong ones land",
    "tracks": "True and predicted labels along example sequences",
}


@dataclass(frozen=True)
class Section:
    """``name`` is its address and its template (sections/<name>.html.j2), ``title`` its word in the index."""

    name: str
    title: str


SECTIONS = {
    section.name: section
    for section in (
        Section("difficulty", "How hard is it?"),
        Section("engine", "Several experts as one"),
        Section("precision_recall", "Precision and recall"),
        Section("reliability", "Reliability"),
        Section("sets", "Sets of names"),
        Section("classes", "Each class"),
        Section("confusions", "Confusions"),
        Section("ranks", "Ranks"),
        Section("labels", "Each label"),
        Section("negative_transfer", "Together or alone"),
        Section("base_labels", "Each label"),
        Section("tracks", "Example sequences"),
        Section("unknowns", "Unknown species"),
        Section("outputs", "Each output"),
        Section("intervals", "Intervals"),
    )
}
