"""The page of a report: what is known of a training in, one HTML file out. Pure functions."""

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from markupsafe import Markup

from trainer.report.markup import (
    Cell,
    figure,
    format_number,
    join,
    paragraph,
    section,
    side_by_side,
    table,
)

_MOST_MISTAKES = 10
_CURVES = {
    "loss": "Loss: the mean of about a second of steps; of long runs the running mean, too.",
    "recall_at_1": "Share of validation tiles whose nearest other tile is of the same context.",
}
_PLANES = {
    "pca_by_label": "Recordings by label, on the principal axes of their directions.",
    "tsne_by_label": "Recordings by label, by t-SNE, where only nearness means likeness.",
    "pca_by_context": "Audible tiles by context (such as a song), on their principal axes.",
    "tsne_by_context": "Audible tiles by context, by t-SNE.",
}

Pictures = Mapping[str, bytes]
Results = Mapping[str, Any]


@dataclass(frozen=True)
class Neighbour:
    """A recording near another one, and its cosine with it; on its own, 1."""

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
class Report:
    """All that the page shows. Pictures are PNG files by name."""

    job_dir: str
    training: Results  # JOB/metrics.json
    curves: Pictures
    runs: Mapping[str, Results]  # of classifiers, JOB/classifier/<run>/metrics.json
    shown_run: str | None  # the run of which classes are shown
    confusion: bytes | None  # of that run
    mistakes: Sequence[tuple[str, str, int]]  # true label, predicted label, how often
    sample: str  # which vectors the pictures show
    pictures: Pictures
    quality: Mapping[str, Mapping[str, float | None]]  # measures without a classifier, by table
    neighbours: Sequence[tuple[Neighbour, Sequence[Neighbour]]]  # a query, its nearest others
    data: Mapping[str, str]  # what the features are
    partitions: Sequence[Partition]
    settings: str  # JOB/config.yaml
    versions: Mapping[str, tuple[str, str]]  # by package: of the features, of this report


def choose_run(runs: Mapping[str, Results]) -> str | None:
    """Name the run of the highest macro-F1 per recording with the trained encoder, or else of all.

    Runs whose encoder may have heard test recordings come after those that are clean.
    """

    def rank(name: str) -> tuple[bool, bool, float]:
        run = runs[name]
        trained = run.get("encoder") == "trained"
        return trained, not run.get("transductive"), float(run["recording"]["macro_f1"])

    return max(runs, key=rank, default=None)


def render(report: Report) -> str:
    """Write the page: complete in itself, without scripts."""
    name, value, _ = _headline(report)[0]
    job = report.job_dir.rstrip("/").rpartition("/")[2] or report.job_dir
    title = Markup("{}: {} {}").format(job, name, value)
    heading = Markup('<h1>{}</h1>\n<p class="where">{}</p>\n{}').format(
        title, report.job_dir, _numbers(_headline(report))
    )
    body = join(
        [
            heading,
            section("Training", _training(report.training), _shown(report.curves, _CURVES)),
            section("Classifiers on the frozen embedding", *_classifiers(report)),
            section("The embedding", *_embedding(report)),
            section("Nearest neighbours", *_nearest(report.neighbours)),
            section("Data", *_data(report)),
            section("Settings and versions", *_settings(report)),
        ]
    )
    template = (resources.files("trainer.report") / "page.html").read_text("utf-8")
    return string.Template(template).substitute(title=title, body=body)


def _headline(report: Report) -> list[tuple[str, str, str]]:
    """Name, value and remark of the numbers on top; the first is the score that matters."""
    training, numbers = report.training, []
    if report.shown_run:
        scores = report.runs[report.shown_run]["recording"]
        for key, name in (("macro_f1", "macro-F1"), ("accuracy", "accuracy")):
            remark = f"95 %: {_interval(scores, key)}, {report.shown_run}, per recording"
            numbers.append((name, format_number(scores[key]), remark))
    if training.get("recall_at_1") is not None:
        recall = format_number(training["recall_at_1"])
        numbers.append(("recall_at_1", recall, "of the validation tiles"))
    if not numbers:
        numbers.append(("loss", format_number(training["loss"]), "mean of the last epoch"))
    time = _duration(float(training["seconds"]))
    return [*numbers, ("training", time, f"{training['steps']} steps")]


def _numbers(numbers: Sequence[tuple[str, str, str]]) -> Markup:
    item = Markup('<div><dt>{}</dt><dd class="value">{}</dd><dd class="faint">{}</dd></div>')
    return Markup('<dl class="numbers">\n{}\n</dl>').format(join(item.format(*n) for n in numbers))


def _training(metrics: Results) -> Markup:
    names = ("steps", "epochs", "loss", "recall_at_1", "false_opposite_share", "tiles_per_s")
    rows: dict[str, Cell] = {name: metrics.get(name) for name in names}
    rows["time"] = _duration(float(metrics["seconds"]))
    rows["parameters"] = metrics.get("parameters")
    rows["devices"] = ", ".join(metrics.get("devices", ()))
    return table(list(rows), [list(rows.values())])


def _classifiers(report: Report) -> list[Markup]:
    if not report.runs:
        return []
    header = ["run", "macro-F1", "95 %", "accuracy", "95 %", "per tile: macro-F1", "accuracy"]
    with_knn = any("knn_accuracy" in run["recording"] for run in report.runs.values())
    with_remark = any(run.get("transductive") for run in report.runs.values())
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
    note = (
        "Scores are per recording where nothing else is said; intervals are bootstraps over them."
    )
    if with_remark:
        note += " Transductive: the encoder was trained, without labels, on test recordings, too."
    best = list(report.runs).index(report.shown_run) if report.shown_run else None
    return [table(header, rows, best=best), paragraph(note), *_classes(report)]


def _classes(report: Report) -> list[Markup]:
    """Scores by class and confusions of the run that is shown."""
    if report.shown_run is None:
        return []
    classes = report.runs[report.shown_run]["recording"]["per_class"]
    columns = ("precision", "recall", "f1", "support")
    rows = [[name, *(scores[column] for column in columns)] for name, scores in classes.items()]
    heading = Markup("<div><h3>{}</h3>{}</div>")
    tables = [
        heading.format(
            f"Classes, {report.shown_run}",
            table(["class", *columns[:2], "F1", "recordings"], rows),
        )
    ]
    if report.mistakes:
        mistakes = table(["true", "predicted", "recordings"], report.mistakes[:_MOST_MISTAKES])
        tables.append(heading.format("Most frequent mistakes", mistakes))
    parts = [side_by_side(tables)]
    if report.confusion:
        caption = "Recordings by true and predicted class; the shade is the share of the true one."
        parts.append(figure(report.confusion, caption, single=True))
    return parts


def _embedding(report: Report) -> list[Markup]:
    parts = [paragraph(report.sample), _shown(report.pictures, _PLANES)]
    if distances := report.pictures.get("label_distances"):
        caption = "Cosine distance between the mean directions of labels; darker is farther."
        parts.append(figure(distances, caption, single=True))
    if report.quality:
        names = dict.fromkeys(name for column in report.quality.values() for name in column)
        values = {name: [column.get(name) for column in report.quality.values()] for name in names}
        defined = {name: row for name, row in values.items() if any(v is not None for v in row)}
        rows = [[name, *row] for name, row in defined.items()]
        parts.append(Markup("<h3>Without a classifier</h3>"))
        parts.append(table(["measure", *report.quality], rows))
    return parts


def _shown(pictures: Pictures, captions: Mapping[str, str]) -> Markup:
    return side_by_side(figure(pictures[n], text) for n, text in captions.items() if n in pictures)


def _nearest(neighbours: Sequence[tuple[Neighbour, Sequence[Neighbour]]]) -> list[Markup]:
    if not neighbours:
        return []
    queries = join(_query(query, others) for query, others in neighbours)
    note = "For some recordings the ones most like them, with the cosine of the angle between both"
    marked = any(query.label is not None for query, _ in neighbours)
    return [
        paragraph(f"{note}; ✓ marks those of the same label." if marked else f"{note}."),
        Markup('<div class="queries">\n{}\n</div>').format(queries),
    ]


def _query(query: Neighbour, others: Sequence[Neighbour]) -> Markup:
    item = Markup('<li><span class="cosine">{}</span><span>{}<br>{}</span></li>')
    items = []
    for other in others:
        same = query.label is not None and other.label == query.label
        mark = Markup('<span class="{}">{}</span>').format(
            "same" if same else "faint", f"✓ {other.label}" if same else (other.label or "")
        )
        items.append(item.format(format_number(other.similarity), other.recording, mark))
    return Markup(
        '<article class="query"><h3>{}</h3><div class="faint">{}</div>\n<ol>\n{}\n</ol></article>'
    ).format(query.recording, query.label or "", join(items))


def _data(report: Report) -> list[Markup]:
    rows: list[list[Cell]] = [
        [p.name, p.role, p.recordings, p.tiles, _duration(p.seconds)] for p in report.partitions
    ]
    facts = Markup("").join(
        Markup('<tr><th scope="row">{}</th><td><code>{}</code></td></tr>').format(name, value)
        for name, value in report.data.items()
    )
    return [
        table(["partition", "used for", "recordings", "tiles", "length"], rows),
        Markup('<div class="wide"><table>{}</table></div>').format(facts),
    ]


def _settings(report: Report) -> list[Markup]:
    rows = [[name, *versions] for name, versions in report.versions.items()]
    details = Markup("<details><summary>{}</summary>{}</details>")
    return [
        details.format("config.yaml", Markup("<pre>{}</pre>").format(report.settings)),
        details.format("Versions of packages", table(["package", "features", "this report"], rows)),
    ]


def _interval(scores: Mapping[str, Any], name: str) -> str:
    low, high = scores[f"{name}_ci95"]
    return f"{low:.3f}–{high:.3f}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
