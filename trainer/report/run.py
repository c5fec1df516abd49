"""The report command: a finished training and its features in, `JOB/report.html` out."""

import io
import json
import os
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import confusion_matrix

from dem import storage
from dem.access import is_remote
from dem.errors import InputError
from trainer.classify.outputs import read_runs
from trainer.config import ResolvedConfig
from trainer.data.checks import check_fingerprint
from trainer.data.features import Features, open_features
from trainer.data.shards import CorruptRecords
from trainer.data.vector_table import VectorTable, recording_table
from trainer.embed.stored import encoders_of, stored_vectors
from trainer.metrics.neighbours import nearest_others
from trainer.metrics.quality import measure_quality
from trainer.plots.curve import curve_png
from trainer.plots.embedding import MOST_POINTS, pictures_by_context, pictures_by_label, place
from trainer.plots.heat_map import confusion_png
from trainer.plots.projection import spread_over_labels
from trainer.report.baselines import measure_recalls
from trainer.report.page import Library, Neighbour, Partition, Report, choose_run, render
from trainer.runtime.job_dir import CLASSIFIER, CONFIG, LOGS, METRICS, read_job_config
from trainer.runtime.tensorboard import read_curves

REPORT = "report.html"
_INDEX_INFO = "index_info.json"  # in every complete index
_MOST_TILES = 20_000  # on the page; embedding them takes the largest encoders minutes on a CPU
_QUERIES = 6
_NEIGHBOURS = 5
_PACKAGES = ("numpy", "scikit-learn", "tensorflow", "keras", "matplotlib", "seaborn")
_ROLES = ("train", "validation", "test")


def write_report(
    data: str, job_dir: str, index: str | None = None, map_page: str | None = None
) -> str:
    """Write the page of a finished training; return its URI.

    Args:
        data: features of the training.
        job_dir: of the training.
        index: of the library, which the page names.
        map_page: of the library, to which the page links.

    Raises:
        InputError: there is no such training, it is not finished, or it is of other data, also of
            data that were updated since; or index or map do not exist.
    """
    library = _find_library(job_dir, index, map_page)
    features = open_features(data)
    job = read_job_config(job_dir)
    check_fingerprint(job.fingerprint, features)
    training = _read_metrics(job_dir)
    _check_content(features, job_dir, job)
    report = _collect(features, job_dir, job, training, library)
    uri = storage.join(job_dir, REPORT)
    storage.write_text(uri, render(report))
    return uri


def _find_library(job_dir: str, index: str | None, map_page: str | None) -> Library:
    """Check that index and map exist, and link to the map from the page."""
    if index is not None and not storage.exists(storage.join(index, _INDEX_INFO)):
        raise InputError(f"--index {index!r} holds no index; build one with dem index")
    if map_page is None:
        return Library(index)
    if not storage.is_file(map_page):
        raise InputError(f"--map {map_page!r} does not exist; write it with dem map")
    is_near = not is_remote(map_page) and not is_remote(job_dir)
    link = quote(os.fsencode(os.path.relpath(map_page, job_dir))) if is_near else None
    return Library(index, map_page, link)


def _read_metrics(job_dir: str) -> dict[str, Any]:
    uri = storage.join(job_dir, METRICS)
    try:
        return dict(json.loads(storage.read_text(uri)))
    except FileNotFoundError as error:
        raise InputError(
            f"{uri} does not exist: the training of {job_dir} has not finished; finish it with "
            "python -m trainer.train"
        ) from error


def _check_content(features: Features, job_dir: str, job: ResolvedConfig) -> None:
    if job.content_sha256 != features.info.content_sha256:
        raise InputError(
            f"{features.uri} is not what {job_dir} was trained on, or has changed since; give the "
            "features of the training, or train again in another --job-dir"
        )


def _collect(
    features: Features,
    job_dir: str,
    job: ResolvedConfig,
    training: dict[str, Any],
    library: Library,
) -> Report:
    """Read, embed and draw everything on the page."""
    names = features.info.label_names
    runs = read_runs(job_dir)
    shown_run = choose_run(runs)
    classes = runs[shown_run]["label_names"] if shown_run else []
    confusion = _confusion(job_dir, shown_run, names, classes) if shown_run else None
    partitions = _partitions_to_show(features, job)
    corrupt = CorruptRecords(job.corrupt_records_budget, f"the training of {job_dir}")
    by_kind = {
        encoder.kind: stored_vectors(
            encoder, features, partitions, job_dir, corrupt, most_tiles=_MOST_TILES
        )
        for encoder in encoders_of(job_dir, features)
    }
    corrupt.log_skipped()
    tiles = by_kind["trained"]
    recordings = recording_table(tiles)
    curves = read_curves(storage.join(job_dir, LOGS), ("loss", "recall_at_1"))
    return Report(
        job_dir=job_dir,
        training=training,
        curves={name: curve_png(*curve, name) for name, curve in curves.items()},
        runs=runs,
        shown_run=shown_run,
        confusion=None if confusion is None else confusion_png(confusion, classes),
        mistakes=[] if confusion is None else frequent_mistakes(confusion, classes),
        sample=_describe_sample(features, partitions, tiles, recordings),
        pictures=_pictures(tiles, recordings, names, job.seed),
        recalls=measure_recalls(by_kind, job.retrieval_gap_s),
        quality=_quality(tiles, recordings, runs, job),
        neighbours=_neighbours(recordings, names, job.seed),
        library=library,
        data=_data_facts(features),
        partitions=_describe_partitions(features, job),
        settings=storage.read_text(storage.join(job_dir, CONFIG)),
        versions=_versions(features),
    )


def frequent_mistakes(
    confusion: npt.NDArray[np.integer], label_names: Sequence[str]
) -> list[tuple[str, str, int]]:
    """True label, predicted label and count of each confusion, the most frequent first."""
    mistakes = confusion * (1 - np.eye(len(confusion), dtype=confusion.dtype))
    order = np.argsort(-mistakes, axis=None, kind="stable")[: np.count_nonzero(mistakes)]
    pairs = zip(*np.unravel_index(order, mistakes.shape), strict=True)
    return [(label_names[t], label_names[p], int(mistakes[t, p])) for t, p in pairs]


def _confusion(
    job_dir: str, run: str, label_names: Sequence[str], classes: Sequence[str]
) -> npt.NDArray[np.integer]:
    """Count recordings by true and predicted class in the run's predictions.

    Raises:
        InputError: a class is none of the `label_names` of the features.
    """
    uri = storage.join(job_dir, CLASSIFIER, run, "predictions.csv")
    text = io.StringIO(storage.read_text(uri))
    predictions = pd.read_csv(text, dtype=str, keep_default_na=False)
    found = {*predictions["label"], *predictions["predicted"]}
    if foreign := found - set(label_names):
        raise InputError(
            f"{uri} has label {min(foreign)!r}, which the features do not have; run python -m "
            "trainer.classify again"
        )
    counts: npt.NDArray[np.integer] = confusion_matrix(
        predictions["label"], predictions["predicted"], labels=list(classes)
    )
    return counts


def _partitions_to_show(features: Features, job: ResolvedConfig) -> tuple[str, ...]:
    """Partitions of test, or else validation, or else training, that hold recordings to compare.

    Of one recording there is nothing to compare, so it is shown only if there are no others.
    Without labels nothing is tested, so all partitions are shown: the whole library.
    """
    info = features.info
    roles: list[tuple[str, ...]] = [getattr(job, f"{role}_partitions") for role in reversed(_ROLES)]
    if not info.label_names:
        roles = [tuple(info.partitions)]
    for least in (2, 1):
        for names in roles:
            if sum(info.partitions[name].recordings for name in names) >= least:
                return names
    raise InputError(f"the partitions of this training hold no tiles in {features.uri}")


def _describe_sample(
    features: Features, partitions: Sequence[str], tiles: VectorTable, recordings: VectorTable
) -> str:
    parts = [features.info.partitions[name] for name in partitions]
    total, there = (sum(getattr(part, name) for part in parts) for name in ("tiles", "recordings"))
    whole = "all" if len(tiles.labels) == total else f"the first {len(tiles.labels)} of"
    n = len(recordings.labels)
    of_all = f" of {there}" if n < there else ""
    return (
        f"Embedded: {whole} {total} tiles of {', '.join(partitions)}, from "
        f"{n}{of_all} recording{'' if n == 1 else 's'}. The vector of a recording is the mean and "
        f"the maximum over its audible tiles. A picture shows {MOST_POINTS} points at most."
    )


def _pictures(
    tiles: VectorTable, recordings: VectorTable, label_names: Sequence[str], seed: int
) -> dict[str, bytes]:
    audible = tiles.select(tiles.audible)
    planes = place(audible.vectors, audible.context_ids, seed)
    pictures = pictures_by_context(planes, audible.context_ids)
    if (recordings.labels >= 0).sum() > 1:
        planes = place(recordings.vectors, recordings.recording_ids, seed)
        pictures |= pictures_by_label(planes, recordings.vectors, recordings.labels, label_names)
    return pictures


def _quality(
    tiles: VectorTable,
    recordings: VectorTable,
    runs: Mapping[str, Mapping[str, Any]],
    job: ResolvedConfig,
) -> dict[str, dict[str, float | None]]:
    """Quality of these vectors, and of those of recordings by other encoders."""
    tables = {"recordings": recordings, "tiles": tiles}
    audible = {name: table.select(table.audible) for name, table in tables.items()}
    others = {run["encoder"]: run["quality"] for run in runs.values() if "quality" in run}
    return {name: _meaningful_quality(table, job) for name, table in audible.items()} | {
        f"recordings, {encoder}": measures["recording"]
        for encoder, measures in others.items()
        if encoder != "trained"
    }


def _meaningful_quality(table: VectorTable, job: ResolvedConfig) -> dict[str, float | None]:
    """Quality without the measures in which rows of a single label or context are all right."""
    groups = {"_by_label": table.labelled.labels, "_by_context": table.context_ids}
    alike = tuple(suffix for suffix, ids in groups.items() if len(np.unique(ids)) < 2)
    measures = measure_quality(table, job.seed, job.retrieval_gap_s)
    return {name: value for name, value in measures.items() if not name.endswith(alike)}


def _neighbours(
    recordings: VectorTable, label_names: Sequence[str], seed: int
) -> list[tuple[Neighbour, list[Neighbour]]]:
    """Audible recordings of different labels, and those nearest to each; none of a single one.

    Silence would be near to whatever is quiet.
    """
    recordings = recordings.select(recordings.audible)
    if len(recordings.labels) < 2:
        return []
    names = [None if label < 0 else label_names[label] for label in recordings.labels]
    queries = spread_over_labels(recordings.labels, _QUERIES, seed)
    nearest = nearest_others(recordings.vectors, _NEIGHBOURS, queries)

    def recording(row: int, similarity: float = 1.0) -> Neighbour:
        return Neighbour(str(recordings.recording_ids[row]), names[row], similarity)

    return [
        (recording(query), [recording(*other) for other in zip(rows, cosines, strict=True)])
        for query, rows, cosines in zip(
            queries, nearest.rows.tolist(), nearest.cosines.tolist(), strict=True
        )
    ]


def _data_facts(features: Features) -> dict[str, str]:
    info = features.info
    spec = info.feature_spec
    return {
        "features": features.uri,
        "dataset": str(info.source.get("dataset", "–")),
        "tiles": f"{spec.tile_s} s, {spec.n_mels} mel bins, {spec.sample_rate_hz} Hz",
        "label names": str(len(info.label_names)),
        "rejected recordings": str(sum(info.rejected.values())),
        "fingerprint": info.fingerprint,
        "content": info.content_sha256,
    }


def _describe_partitions(features: Features, job: ResolvedConfig) -> list[Partition]:
    roles = {name: role for role in _ROLES for name in getattr(job, f"{role}_partitions")}
    return [
        Partition(name, roles.get(name, "–"), part.recordings, part.tiles, part.seconds)
        for name, part in features.info.partitions.items()
    ]


def _versions(features: Features) -> dict[str, tuple[str, str]]:
    """Version of each package when the features were made, and now; a dash if it was not used."""
    made: Mapping[str, str] = features.info.versions
    now = {name: metadata.version(name) for name in _PACKAGES}
    return {name: (made.get(name, "–"), now.get(name, "–")) for name in sorted({*made, *now})}
