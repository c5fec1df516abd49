"""What TensorBoard shows of a classifier run: pictures in `JOB/logs/classifier/<run>`."""

from collections.abc import Sequence

from sklearn.metrics import confusion_matrix

from dem import storage
from trainer.classify.posteriors import Posteriors
from trainer.model.vectors import VectorTable
from trainer.plots.embedding import pictures_by_label, place
from trainer.plots.heat_map import confusion_png
from trainer.runtime.job_dir import CLASSIFIER, LOGS
from trainer.runtime.tensorboard import write_figures


def log_evaluation(
    job_dir: str,
    name: str,
    vectors: VectorTable,
    posteriors: Posteriors,
    label_names: Sequence[str],
    seed: int,
) -> None:
    """Show test recordings by label, and which are mistaken for what; earlier pictures go.

    Args:
        job_dir: of the training.
        name: of the run, such as ``trained-logistic``.
        vectors: of the test recordings.
        posteriors: what the classifier says of them.
        label_names: names of the classes.
        seed: of the choice among many, and of t-SNE.
    """
    planes = place(vectors.vectors, vectors.recording_ids, seed)
    pictures = pictures_by_label(planes, vectors.vectors, vectors.labels, label_names)
    counts = confusion_matrix(
        posteriors.truth, posteriors.predicted, labels=range(len(label_names))
    )
    pictures["confusion_matrix"] = confusion_png(counts, label_names, f"{name}, per recording")
    write_figures(storage.join(job_dir, LOGS, CLASSIFIER, name), pictures)
