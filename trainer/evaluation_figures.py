"""What TensorBoard shows of a classifier run: pictures in `JOB/logs/classifier/<run>`."""

from collections.abc import Sequence

from sklearn.metrics import confusion_matrix

from trainer import storage
from trainer.classifier import Posteriors
from trainer.embedding import VectorTable, recording_table
from trainer.figures import confusion_png
from trainer.job import CLASSIFIER, LOGS
from trainer.pictures import pictures_by_label, place
from trainer.telemetry import write_figures

_SEED = 0  # of what is shown of many


def log_evaluation(
    job_dir: str,
    name: str,
    tiles: VectorTable,
    recordings: Posteriors,
    label_names: Sequence[str],
) -> None:
    """Show test recordings by label, and which are mistaken for what; earlier pictures go.

    Args:
        job_dir: of the training.
        name: of the run, such as ``trained-logistic``.
        tiles: of the test partitions.
        recordings: what the classifier says of them.
        label_names: names of the classes.
    """
    table = recording_table(tiles)
    planes = place(table.vectors, table.recording_ids, _SEED)
    pictures = pictures_by_label(planes, table.vectors, table.labels, label_names)
    counts = confusion_matrix(
        recordings.truth, recordings.predicted, labels=range(len(label_names))
    )
    pictures["confusion_matrix"] = confusion_png(counts, label_names, f"{name}, per recording")
    write_figures(storage.join(job_dir, LOGS, CLASSIFIER, name), pictures)
