"""What a classifier run leaves in its directory."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import classification_report, confusion_matrix

from dem import storage
from trainer.classify.labeller import MODEL, Labeller
from trainer.classify.posteriors import Posteriors
from trainer.plots.heat_map import confusion_png
from trainer.runtime.job_dir import CLASSIFIER, METRICS


def write_results(
    directory: str,
    labeller: Labeller,
    tiles: Posteriors,
    recordings: Posteriors,
    nearest: npt.NDArray[np.int64],
    results: Mapping[str, Any],
) -> None:
    """Write every file of the run, `metrics.json` last; an old one goes first.

    Args:
        directory: of the run.
        labeller: encoder and classifiers, for new audio.
        tiles: what the classifier said of the test tiles.
        recordings: likewise of the test recordings.
        nearest: per test recording, the label that its nearest neighbours give it.
        results: for `metrics.json`.
    """
    storage.delete(storage.join(directory, METRICS))
    labeller.save(storage.join(directory, MODEL), {"encoder": results["encoder"]})
    names = labeller.label_names
    confusion = confusion_matrix(recordings.truth, recordings.predicted, labels=range(len(names)))
    title = f"{results['encoder']} + {results['head']}, per recording"
    png = confusion_png(confusion, names, title)
    storage.write_bytes(storage.join(directory, "confusion_matrix.png"), png)
    storage.write_text(
        storage.join(directory, "predictions.csv"), _predictions_csv(recordings, nearest, names)
    )
    reports = [
        f"per {level}\n{_classification_report(posteriors, names)}"
        for level, posteriors in (("recording", recordings), ("tile", tiles))
    ]
    storage.write_text(storage.join(directory, "classification_report.txt"), "\n".join(reports))
    storage.write_text(storage.join(directory, METRICS), json.dumps(results, indent=2) + "\n")


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
    return str(
        classification_report(
            posteriors.truth,
            posteriors.predicted,
            labels=range(len(label_names)),
            target_names=label_names,
            digits=3,
            zero_division=0,
        )
    )


def read_runs(job_dir: str) -> dict[str, dict[str, Any]]:
    """Results of all finished classifier runs of a job, by name such as ``none-logistic``."""
    root = storage.join(job_dir, CLASSIFIER)
    runs = {}
    for name in storage.list_names(root):
        uri = storage.join(root, name, METRICS)
        if storage.exists(uri):
            runs[name] = json.loads(storage.read_text(uri))
    return runs
