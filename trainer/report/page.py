"""The page of a report: what is known of a training in, one HTML file out. Pure functions.

Python prepares tables and numbers; the templates beside this module hold text and layout.
"""

import base64
import math
import shlex
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2

from trainer.classify.coverage import quote_labels
from trainer.metrics.scores import LEAST_RECORDINGS
from trainer.report.baselines import RIVALS, Recalls, verdicts

_MOST_MISTAKES = 10

Cell = str | float | int | None
Pictures = Mapping[str, bytes]
Results = Mapping[str, Any]


@dataclass(frozen=True)
class Neighbour:
    """A recording, and its cosine with the query; the query itself has 1."""

    recording: str
    label: str | None
    similarity: float = 1.0


@dataclass(frozen=True)
class Partition:
    """What a partition holds and what it is for."""

    name: str
    role: str
    recordings: int
    tiles: int
    seconds: float


@dataclass(frozen=True)
class Library:
    """Where the index and the map of these recordings are, relative to the page; None: unknown.

    Only a map on the same machine has a link: browsers do not open URIs of buckets.
    """

    index: str | None = None
    map: str | None = None
    map_link: str | None = None


@dataclass(frozen=True)
class Report:
    """Everything that the page shows. Pictures are PNG files by name."""

    job_dir: str
    training: Results  # JOB/metrics.json
    curves: Pictures
    runs: Mapping[str, Results]  # of classifiers, JOB/classifier/<run>/metrics.json
    shown_run: str | None  # the run of which classes are shown
    confusion: bytes | None  # of that run
    mistakes: Sequence[tuple[str, str, int]]  # true label, predicted label, how often
    sample: str  # which vectors the pictures show
    pictures: Pictures
    recalls: Recalls | None  # of this encoder and of its rivals
    quality: Mapping[str, Mapping[str, float | None]]  # measures without a classifier, by table
    neighbours: Sequence[tuple[Neighbour, Sequence[Neighbour]]]  # a query, its nearest others
    library: Library
    data: Mapping[str, str]  # facts about the features
    partitions: Sequence[Partition]
    settings: str  # JOB/config.yaml
    versions: Mapping[str, tuple[str, str]]  # by package: of the features, of this report


@dataclass(frozen=True)
class Table:
    """A table of the page: text, and numbers as they are; row `best` stands out."""

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    best: int | None = None


@dataclass(frozen=True)
class Number:
    """A number at the top of the page; a bad one is red."""

    name: str
    value: str
    remark: str
    is_bad: bool = False


def choose_run(runs: Mapping[str, Results]) -> str | None:
    """Name the run of the highest macro-F1 per recording with the trained encoder, or else of all.

    Runs whose encoder may have been trained on test recordings come after those that are clean.
    """

    def rank(name: str) -> tuple[bool, bool, float]:
        run = runs[name]
        trained = run.get("encoder") == "trained"
        return trained, not run.get("transductive"), float(run["recording"]["macro_f1"])

    return max(runs, key=rank, default=None)


def render(report: Report) -> str:
    """Write the page: one self-contained file without scripts."""
    return (
        _environment()
        .get_template("page.html")
        .render(
            report=report,
            job=report.job_dir.rstrip("/").rpartition("/")[2] or report.job_dir,
            headline=_headline(report),
            training=_training(report.training),
            classifiers=_classifiers(report),
            transductive=_is_transductive(report),
            unseen=_unseen(report),
            least_recordings=LEAST_RECORDINGS,
            classes=_classes(report),
            mistakes=Table(["true", "predicted", "recordings"], report.mistakes[:_MOST_MISTAKES]),
            recalls=_recalls(report.recalls) if report.recalls else None,
            verdicts=verdicts(report.recalls) if report.recalls else [],
            quality=_quality(report),
            partitions=_partitions(report),
            versions=Table(
                ["package", "features", "this report"],
                [[name, *versions] for name, versions in report.versions.items()],
            ),
        )
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("trainer.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _format_number, "image": _image, "quote": shlex.quote}
    return environment


def _headline(report: Report) -> list[Number]:
    """The numbers on top; the first is the score that matters."""
    training, numbers = report.training, []
    if report.shown_run:
        scores = report.runs[report.shown_run]["recording"]
        for key, name in (("macro_f1", "macro-F1"), ("accuracy", "accuracy")):
            interval = f"95 %: {_interval(scores, key)}, " if scores[f"{key}_ci95"] else ""
            remark = f"{interval}{report.shown_run}, per recording"
            numbers.append(Number(name, _format_number(scores[key]), remark))
    if report.recalls:
        numbers.append(_recall_number(report.recalls))
    if training.get("recall_at_1") is not None:
        recall = _format_number(training["recall_at_1"])
        what = "of the validation tiles; those near in time do not count"
        numbers.append(Number("recall_at_1", recall, what))
    if not numbers:
        numbers.append(Number("loss", _format_number(training["loss"]), "mean of the last epoch"))
    time = _duration(float(training["seconds"]))
    return [*numbers, Number("training", time, f"{training['steps']} steps")]


def _recall_number(recalls: Recalls) -> Number:
    """The label-free score, and what it is worth: bad if it is not above the strongest rival."""
    strongest, *_ = verdicts(recalls)
    value = _format_number(recalls.by_kind["trained"])
    return Number("recall by song", value, strongest.text, strongest.is_bad)


def _recalls(recalls: Recalls) -> Table:
    names = RIVALS | {"trained": "this training"}
    rows = [
        (name, recalls.by_kind[kind]) for kind, name in names.items() if kind in recalls.by_kind
    ]
    return Table(["vectors of", "recall at 1"], rows, best=len(rows) - 1)


def _training(metrics: Results) -> Table:
    names = ("steps", "epochs", "loss", "recall_at_1", "false_opposite_share", "tiles_per_s")
    row: dict[str, Cell] = {name: metrics.get(name) for name in names}
    row["time"] = _duration(float(metrics["seconds"]))
    row["parameters"] = metrics.get("parameters")
    row["devices"] = ", ".join(metrics.get("devices", ()))
    return Table(list(row), [list(row.values())])


def _unseen(report: Report) -> str:
    """Name the labels of the test that the run that is shown was not trained on."""
    labels = report.runs[report.shown_run].get("unseen_labels") if report.shown_run else None
    return quote_labels(labels) if labels else ""


def _is_transductive(report: Report) -> bool:
    return any(run.get("transductive") for run in report.runs.values())


def _classifiers(report: Report) -> Table:
    """Scores of all runs; the last columns only if some run has a value for them."""
    header = ["run", "macro-F1", "95 %", "accuracy", "95 %", "per tile: macro-F1", "accuracy"]
    with_knn = any("knn_accuracy" in run["recording"] for run in report.runs.values())
    with_remark = _is_transductive(report)
    rows = []
    for name, run in report.runs.items():
        recording, tile = run["recording"], run["tile"]
        row: list[Cell] = [name, recording["macro_f1"], _interval(recording, "macro_f1")]
        row += [recording["accuracy"], _interval(recording, "accuracy")]
        row += [tile["macro_f1"], tile["accuracy"]]
        row += [recording.get("knn_accuracy")] if with_knn else []
        row += ["transductive" if run.get("transductive") else ""] if with_remark else []
        rows.append(row)
    header += (["5 nearest, accuracy"] if with_knn else []) + ([""] if with_remark else [])
    best = list(report.runs).index(report.shown_run) if report.shown_run else None
    return Table(header, rows, best)


def _classes(report: Report) -> Table:
    """Scores by class of the run that is shown."""
    columns = ("precision", "recall", "f1", "support")
    run = report.runs[report.shown_run]["recording"]["per_class"] if report.shown_run else {}
    rows = [[name, *(scores[column] for column in columns)] for name, scores in run.items()]
    return Table(["class", "precision", "recall", "F1", "recordings"], rows)


def _quality(report: Report) -> Table:
    """Measures that are defined for at least one column."""
    columns = report.quality.values()
    names = dict.fromkeys(name for column in columns for name in column)
    rows = [(name, *(column.get(name) for column in columns)) for name in names]
    defined = [row for row in rows if any(value is not None for value in row[1:])]
    return Table(["measure", *report.quality], defined)


def _partitions(report: Report) -> Table:
    rows: list[list[Cell]] = [
        [part.name, part.role, part.recordings, part.tiles, _duration(part.seconds)]
        for part in report.partitions
    ]
    return Table(["partition", "used for", "recordings", "tiles", "length"], rows)


def _image(png: bytes) -> dict[str, str | int]:
    """Attributes of an ``img`` that holds a PNG file."""
    width, height = struct.unpack(">II", png[16:24])
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return {"width": width, "height": height, "src": source}


def _format_number(value: float | None) -> str:
    """Write a score with three decimals, a count with thin spaces, nothing or NaN as a dash."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:,}".replace(",", "\u202f") if isinstance(value, int) else f"{value:.3f}"


def _interval(scores: Mapping[str, Any], name: str) -> str:
    interval = scores[f"{name}_ci95"]
    return f"{interval[0]:.3f}–{interval[1]:.3f}" if interval else "–"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
