"""The report: one HTML file that needs nothing else, from the tables of a run.

A ``Run`` (tables, figures, settings) goes in; the text of report.html comes out. Words are made in
``report_words``, tables in ``report_tables``; the look is in workflow/report.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dnatune import (
    report_engine,
    report_files,
    report_tables,
    report_unknowns,
    report_words,
    report_words_differences,
    report_words_sets,
)
from dnatune.engine import naming_model
from dnatune.report_contents import FIGURES, SECTIONS
from dnatune.report_words import Estimate
from dnatune.tasks.base import Task
from dnatune.tasks.regression_values import amount

if TYPE_CHECKING:
    from dnatune.report_difficulty import Difficulty
    from dnatune.report_more_data import MoreData


@dataclass
class Run:
    """Everything the report speaks of; the tables are those of the files with the same names."""

    title: str
    name: str
    summary: Mapping[str, Any]
    labels_summary: Mapping[str, Any]
    label_map: Mapping[str, Any]
    audit: Mapping[str, Any]
    removed: pd.DataFrame
    balance: pd.DataFrame
    metrics: pd.DataFrame
    comparison: pd.DataFrame
    paired: pd.DataFrame
    language_models: Sequence[str]
    baselines: Sequence[str]
    task: Task
    history: pd.DataFrame = field(default_factory=pd.DataFrame)
    fold_tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    benchmarks: pd.DataFrame = field(default_factory=pd.DataFrame)
    unknowns: pd.DataFrame = field(default_factory=pd.DataFrame)
    difficulty: Difficulty | None = None
    more_data: MoreData | None = None
    runs: Sequence[Mapping[str, Any]] = ()
    tokens: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    calibrations: Sequence[Mapping[str, Any]] = ()
    figures: Mapping[str, Path] = field(default_factory=dict)
    captions: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    left_out: Sequence[str] = ()
    engines: Sequence[str] = ()
    saved: Sequence[str] = ()
    predict_with: str | None = None
    library_versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def compared(self) -> list[str]:
        """Models that the task trained besides, to compare with: never the best one."""
        return list(self.task.compared({model: {} for model in self.language_models}))

    @property
    def rank_names(self) -> list[str]:
        """All ranks from the label's own upwards; empty where the label table has no rank columns."""
        return list((self.label_map.get("taxonomy") or {}).get("ranks") or [])

    def words(self, metric: str) -> report_words.Metric:
        """Return the words for a metric, the task's own where it has some."""
        return self.task.report.metric(metric) or report_words.metric(metric)

    @property
    def best(self) -> str | None:
        """The language model the answer speaks of, chosen on validation; with none, the best baseline."""
        return report_tables.best_model(self.metrics, self.language_models or self.baselines, self.task)

    @property
    def naming(self) -> str | None:
        """Who names new sequences: what the sections on single names speak of. The best one where nothing is saved."""
        pools = [entry for entry in self.runs if entry["model"] in self.engines]
        return naming_model(pools, self.engines, self.saved, self.best_saved, self.predict_with) or self.best

    @property
    def best_saved(self) -> str | None:
        """The best language model on validation among those that are saved, None without one."""
        return report_tables.best_model(self.metrics, self.saved, self.task)

    @property
    def whose(self) -> str:
        """Say who these sections speak of where it is not the model of the answer."""
        if self.naming == self.best:
            return ""
        return f"This section speaks of {self.naming}, which names new sequences (the answer above of {self.best})."


def caption(path: str | Path) -> str:
    """Return the text of a caption file (.rst with plain paragraphs) on one line."""
    return " ".join(Path(path).read_text("utf-8").split())


def as_data_uri(path: str | Path) -> str:
    """Return an SVG file as an address that holds the picture itself (an image, so it can run no script)."""
    return "data:image/svg+xml;base64," + base64.b64encode(Path(path).read_bytes()).decode("ascii")


def big_numbers(run: Run) -> list[dict[str, str]]:
    """Return the four headline numbers of the best model with their spread in words."""
    own = report_tables.estimates(run.comparison, run.best) if run.best else {}
    rows = []
    for name in run.task.headline:
        value, words = own.get(name, Estimate(math.nan, folds=0)), run.words(name)
        rows.append(
            {
                "name": words.name,
                "meaning": words.meaning,
                "value": report_words.number(value.mean),
                "spread": report_words.spread(value) if value.folds else "not measured",
                "direction": "more is better" if words.more_is_better else "less is better",
            }
        )
    return rows


def model_rows(run: Run) -> list[dict[str, Any]]:
    """Return one row per model and stage for the table of models against baselines."""
    table = run.comparison[run.comparison["split"] == "test"]
    there = set(table["metric"])
    top = sorted(m for m in there if m.startswith("top_") and m.endswith("_accuracy"))
    shown = [m for name in run.task.shown for m in (top[:1] if name == "top_k_accuracy" else [name]) if m in there]
    rows, trained = [], [*run.language_models, *run.compared]
    for model in dict.fromkeys([*trained, *run.baselines, *table["model"]]):
        stages = {stage: report_tables.estimates(run.comparison, model, stage) for stage in ("raw", "calibrated")}
        if not stages["raw"] and not stages["calibrated"]:
            continue
        has_calibrated = ((table["model"] == model) & (table["stage"] == "calibrated")).any()
        for stage in run.task.stages if has_calibrated else ("raw",):
            rows.append(
                {
                    "model": model,
                    "kind": report_tables.kind(model, trained, run.engines),
                    "stage": stage,
                    "best": model == run.best,
                    "values": [stages[stage].get(name) for name in shown],
                }
            )
    return [{"columns": [(name, run.words(name)) for name in shown], "rows": rows}]


def shows(run: Run, section: str, rejection: Mapping[str, Any]) -> bool:
    """Say whether a run has anything to show in a section of its task."""
    found = {
        "unknowns": rejection or len(run.unknowns),
        "engine": run.engines,
        "difficulty": run.difficulty is not None,
    }
    return bool(found.get(section, True))


def tables(run: Run) -> dict[str, pd.DataFrame]:
    """Return the tables that are also written as report/tables/<name>.tsv."""
    return {
        "models": report_tables.models(
            run.comparison, [*run.language_models, *run.compared], run.calibrations, run.engines
        ),
        "removed_reasons": report_tables.removed_reasons(run.summary, run.removed),
        "time_and_memory": report_tables.time_and_memory(run.runs, run.benchmarks),
        **run.task.report.tables(run),
    }


def versions(run: Run) -> dict[str, str]:
    """Return package versions; where the jobs ran with different ones, all of them are named."""
    seen: dict[str, set[str]] = {name: {str(v)} for name, v in run.library_versions.items()}
    for entry in run.runs:
        for name, version in (entry.get("versions") or {}).items():
            seen.setdefault(name, set()).add(str(version))
    return {name: " and ".join(sorted(found)) for name, found in sorted(seen.items())}


def page_of_its_own(
    figures: Mapping[str, tuple[str | Path, str]],
    template: str | Path,
    css: str | Path,
    js: str | Path,
    **values: Any,
) -> str:
    """Return a page beside the report, all in one file; ``figures`` are SVG files with their captions, by name."""
    drawn = {
        figure: {"title": FIGURES[figure], "source": as_data_uri(path), "caption": caption}
        for figure, (path, caption) in figures.items()
    }
    style, script = (Markup(Path(path).read_text("utf-8")) for path in (css, js))
    made = environment(Path(template).parent).get_template(Path(template).name)
    return made.render(figures=drawn, css=style, js=script, **values)


def environment(folder: str | Path) -> Environment:
    """Return the template engine with the report's filters; it escapes every value from data or config."""
    made = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        number=report_words.number,
        amount=amount,
        percent=report_words.percent,
        distance=lambda value: "–" if _missing(value) else report_words.percent(value, 2),
        spread=report_words.spread,
        seconds=_seconds,
        gap=lambda value: "" if value is None or _missing(value) else value,
    )
    return made


def render(run: Run, template: str | Path, css: str | Path, js: str | Path) -> str:
    """Return the whole report as HTML. Every value from data or config is escaped by the template engine."""
    figures = {
        name: {
            "title": FIGURES[name],
            "source": as_data_uri(run.figures[name]),
            "caption": run.captions.get(name, FIGURES[name] + "."),
        }
        for name in (*run.task.figures, "more_data")
        if name in run.figures
    }
    models = sorted(
        {entry["model"] for entry in run.runs if entry.get("gap") is not None},
        key=list(run.language_models).index,
    )
    rejection = report_unknowns.section(run) if run.task.classes else {}
    return (
        environment(Path(template).parent)
        .get_template(Path(template).name)
        .render(
            run=run,
            sections=[SECTIONS[name] for name in run.task.sections if shows(run, name, rejection)],
            rejection=rejection,
            difficulty=run.difficulty,
            more_data=run.more_data,
            answer=run.task.report.answer(run),
            big_numbers=big_numbers(run),
            figures=figures,
            tables={name: table.to_dict("records") for name, table in tables(run).items()},
            models=model_rows(run)[0],
            gaps={model: [e.get("gap") for e in run.runs if e["model"] == model] for model in models},
            setups=report_tables.setups(run.runs),
            tuned=report_tables.tuned(run.runs),
            calibration_notes=report_tables.notes(run.calibrations),
            checks=report_files.audit_checks(run.audit, run.task.classes),
            paired=run.paired.to_dict("records"),
            set_words=report_words_sets.sentences_of(run),
            unknown_words=report_words.unknowns_sentence(_of(run.unknowns, run.naming)) if len(run.unknowns) else "",
            unknowns=run.unknowns.to_dict("records"),
            engine=report_engine.shown(run) if run.engines else None,
            metric=run.words,
            verdict=report_words_differences.verdict,
            glossary=_glossary(run),
            **run.task.report.section_words(run),
            versions=versions(run),
            config=yaml.safe_dump(_plain(run.config), sort_keys=False, allow_unicode=True),
            # Both files are ours and part of the repository; nothing of the data ever enters them.
            css=Markup(Path(css).read_text("utf-8")),
            js=Markup(Path(js).read_text("utf-8")),
        )
    )


def _glossary(run: Run) -> dict[str, report_words.Metric]:
    """Return the words of the metrics that were measured, those of k names under one heading."""
    # What a metric at a rank (accuracy@genus) means, the metric says.
    names = (name.partition("@")[0] for name in run.metrics["metric"])
    measured = dict.fromkeys("top_k_accuracy" if name.startswith("top_") else name for name in names)
    words = {name: run.words(name) for name in measured}
    return {name: word for name, word in words.items() if word.meaning}


def _of(table: pd.DataFrame, model: str | None) -> pd.DataFrame:
    mine = table[table["model"] == model]
    return mine if len(mine) else table


def _missing(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _seconds(value: Any) -> str:
    """Return a duration for reading: 75 becomes '1 min 15 s'."""
    if value is None or _missing(value):
        return ""
    if value < 10:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(float(value)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _plain(value: Any) -> Any:
    """Return a config as plain YAML types: Snakemake hands over its own kinds of dict and list."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
