"""The results of a classifier run: files, pictures in TensorBoard, a table for the terminal."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import classification_report, confusion_matrix

from dem import storage
from trainer.classify.coverage import quote_labels
from trainer.classify.labeller import MODEL, Labeller
from trainer.classify.posteriors import Posteriors
from trainer.data.vector_table import VectorTable
from trainer.metrics.scores import LEAST_RECORDINGS
from trainer.plots.embedding import pictures_by_label, place
from trainer.plots.heat_map import confusion_png
from trainer.runtime.job_dir import CLASSIFIER, LOGS, METRICS
from trainer.runtime.tensorboard import write_figures

NO_INTERVAL = f"no intervals below {LEAST_RECORDINGS} test recordings: they would mean little"


def write_results(
    directory: str,
    labeller: Labeller,
    tiles: Posteriors,
    recordings: Posteriors,
    nearest: npt.NDArray[np.int64],
    results: Mapping[str, Any],
) -> None:
    """Write all files of the run, `metrics.json` last; an old one is deleted first.

    Args:
        directory: of the run.
        labeller: encoder and classifiers, for new audio.
        tiles: posteriors of the test tiles.
        recordings: posteriors of the test recordings.
        nearest: label of each test recording by its nearest neighbours.
        results: for `metrics.json`.
    """
    storage.delete(storage.join(directory, METRICS))
    labeller.save(storage.join(directory, MODEL), {"encoder": results["encoder"]})
    names = labeller.label_names
    title = f"{results['encoder']} + {results['head']}, per recording"
    storage.write_bytes(
        storage.join(directory, "confusion_matrix.png"),
        confusion_png(_confusion(recordings, names), names, title),
    )
    storage.write_text(
        storage.join(directory, "predictions.csv"), _predictions_csv(recordings, nearest, names)
    )
    reports = [
        f"per {level}\n{_classification_report(posteriors, names)}"
        for level, posteriors in (("recording", recordings), ("tile", tiles))
    ]
    storage.write_text(storage.join(directory, "classification_report.txt"), "\n".join(reports))
    storage.write_text(storage.join(directory, METRICS), json.dumps(results, indent=2) + "\n")


def log_evaluation(
    job_dir: str,
    name: str,
    vectors: VectorTable,
    posteriors: Posteriors,
    label_names: Sequence[str],
    seed: int,
) -> None:
    """Write pictures for TensorBoard to `JOB/logs/classifier/<run>`, replacing earlier ones.

    Args:
        job_dir: of the training.
        name: of the run, such as ``trained-logistic``.
        vectors: of the test recordings.
        posteriors: of the test recordings.
        label_names: names of the classes.
        seed: for the choice of points, and for t-SNE.
    """
    planes = place(vectors.vectors, vectors.recording_ids, seed)
    pictures = pictures_by_label(planes, vectors.vectors, vectors.labels, label_names)
    counts = _confusion(posteriors, label_names)
    pictures["confusion_matrix"] = confusion_png(counts, label_names, f"{name}, per recording")
    write_figures(storage.join(job_dir, LOGS, CLASSIFIER, name), pictures)


def read_runs(job_dir: str) -> dict[str, dict[str, Any]]:
    """Results of all finished classifier runs of a job, by name such as ``none-logistic``."""
    root = storage.join(job_dir, CLASSIFIER)
    runs = {}
    for name in storage.list_names(root):
        uri = storage.join(root, name, METRICS)
        if storage.exists(uri):
            runs[name] = json.loads(storage.read_text(uri))
    return runs


def comparison_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Lay out macro-F1 and accuracy per run, each with its 95 % interval.

    A row is marked where the encoder may have been trained on test recordings. A last line says why
    intervals are missing.
    """
    lines = [
        f"{'':<20}{'per recording':^42}{'per tile':^20}",
        f"{'encoder-head':<20}{'macro-F1':^21}{'accuracy':^21}{'macro-F1':^10}{'accuracy':^10}",
    ]
    for name, result in results.items():
        recording, tile = result["recording"], result["tile"]
        lines.append(
            f"{name:<20}{with_interval(recording, 'macro_f1'):^21}"
            f"{with_interval(recording, 'accuracy'):^21}"
            f"{tile['macro_f1']:^10.3f}{tile['accuracy']:^10.3f}"
            f"{'transductive' if result.get('transductive') else ''}"
        )
    if any(result["recording"]["macro_f1_ci95"] is None for result in results.values()):
        lines.append(NO_INTERVAL)
    return "\n".join(line.rstrip() for line in lines)


def with_interval(scores: Mapping[str, Any], name: str) -> str:
    """Lay out a score and its 95 % interval, if there is one."""
    interval = scores.get(f"{name}_ci95")
    ends = "" if interval is None else f" ({interval[0]:.3f}-{interval[1]:.3f})"
    return f"{scores[name]:.3f}{ends}"


def _confusion(posteriors: Posteriors, label_names: Sequence[str]) -> npt.NDArray[np.int64]:
    counts: npt.NDArray[np.int64] = confusion_matrix(
        posteriors.truth, posteriors.predicted, labels=range(len(label_names))
    )
    return counts


def _predictions_csv(
    recordings: Posteriors, nearest: npt.NDArray[np.int64], label_names: Sequence[str]
) -> str:
    """Lay out the truth, both predictions and all posteriors of each recording."""
    names = np.array(label_names)
    table = pd.DataFrame(
        {
            "recording_id": recordings.recording_ids,
            "label": names[recordings.truth],
            "predicted": names[recordings.predicted],
            "knn_predicted": names[nearest],
        }
        | {f"p_{name}": recordings.probabilities[:, i] for i, name in enumerate(label_names)}
    )
    return str(table.to_csv(index=False, float_format="%.6f"))


def _classification_report(posteriors: Posteriors, label_names: Sequence[str]) -> str:
    """Lay out the scores of the classes that macro-F1 averages over, and name the others."""
    occurring = np.union1d(posteriors.truth, posteriors.predicted)
    text = str(
        classification_report(
            posteriors.truth,
            posteriors.predicted,
            labels=occurring,
            target_names=[label_names[index] for index in occurring],
            digits=3,
            zero_division=0,
        )
    )
    others = [name for index, name in enumerate(label_names) if index not in occurring]
    if others:
        text += f"\nneither tested nor predicted: {quote_labels(others)}\n"
    return text
