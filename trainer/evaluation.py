"""The classifier stage: vectors of tiles, a classifier, its scores, and files that show them."""

import io
import json
from typing import Any, Literal

import joblib
import numpy as np
import pandas as pd
from sklearn.metrics import classification_report, confusion_matrix
from sklearn.pipeline import Pipeline

from beam_features.schema.errors import InputError
from trainer import storage
from trainer.classifier import (
    Posteriors,
    fit_logistic,
    labelled,
    per_recording,
    posteriors_of,
)
from trainer.comparison import comparison_table
from trainer.config import ClassifyConfig, ResolvedConfig
from trainer.data import Features, open_features
from trainer.embedding import (
    Representation,
    VectorTable,
    as_representation,
    log_mel_statistics,
    tile_table,
)
from trainer.encoders import build_encoder
from trainer.evaluation_figures import log_evaluation
from trainer.figures import confusion_png
from trainer.job import CLASSIFIER, ENCODER, METRICS, check_fingerprint, read_job_config
from trainer.scores import score

EncoderKind = Literal["trained", "random", "none"]
ENCODER_KINDS: tuple[EncoderKind, ...] = ("none", "random", "trained")


def evaluate(data: str, job_dir: str, encoder: EncoderKind, config: ClassifyConfig) -> None:
    """Fit a classifier on the training partitions, measure it on the test partitions, write all.

    Raises:
        InputError: data and model do not fit, or there is nothing to classify.
    """
    features = open_features(data)
    job = read_job_config(job_dir)
    check_fingerprint(job.fingerprint, features)
    label_names = features.info.label_names
    if not label_names:
        raise InputError(f"{data} has no labels, so there is nothing to classify")
    represent = _representation(encoder, features, job_dir, job)

    def tiles_of(partitions: tuple[str, ...], role: str) -> VectorTable:
        tiles = labelled(tile_table(features, partitions, represent)) if partitions else None
        if tiles is None or not len(tiles.labels):
            raise InputError(
                f"no labelled tiles in {role}_partitions={list(partitions)}; train a job whose "
                f"{role}_partitions hold some"
            )
        return tiles

    train = tiles_of(job.train_partitions, "train")
    test = tiles_of(job.test_partitions, "test")
    validation = None
    if job.validation_partitions:
        validation = tiles_of(job.validation_partitions, "validation")
    classifier, strength = fit_logistic(train, validation, config.strengths, len(label_names))
    tiles = posteriors_of(classifier, test, len(label_names))
    results = {
        "encoder": encoder,
        "head": "logistic",
        "strength": strength,
        "seed": config.seed,
        "train_partitions": job.train_partitions,
        "validation_partitions": job.validation_partitions,
        "test_partitions": job.test_partitions,
        "tile": _scores(tiles, label_names, config.seed),
        "recording": _scores(per_recording(tiles), label_names, config.seed),
    }
    name = f"{encoder}-logistic"
    log_evaluation(job_dir, name, test, per_recording(tiles), label_names)
    directory = storage.join(job_dir, CLASSIFIER, name)
    _write(directory, classifier, tiles, label_names, results)


def comparison(job_dir: str) -> str:
    """Table of all classifier runs of a job, in the order none, random, trained."""
    results = {}
    for encoder in ENCODER_KINDS:
        name = f"{encoder}-logistic"
        uri = storage.join(job_dir, CLASSIFIER, name, METRICS)
        if storage.exists(uri):
            results[name] = json.loads(storage.read_text(uri))
    return comparison_table(results)


def _representation(
    encoder: EncoderKind, features: Features, job_dir: str, job: ResolvedConfig
) -> Representation:
    if encoder == "none":
        return log_mel_statistics
    if encoder == "random":
        untrained = build_encoder(
            job.encoder,
            features.info.feature_spec.tile_shape,
            job.embedding_size,
            features.info.moments(job.train_partitions),
            job.seed,
        )
        return as_representation(untrained)
    uri = storage.join(job_dir, ENCODER)
    if not storage.exists(uri):
        raise InputError(f"{uri} does not exist: the training of {job_dir} has not finished")
    return as_representation(storage.load_keras(uri))


def _scores(posteriors: Posteriors, label_names: tuple[str, ...], seed: int) -> dict[str, Any]:
    _, groups = np.unique(posteriors.recording_ids, return_inverse=True)
    return score(posteriors.truth, posteriors.predicted, groups, label_names, seed)


def _write(
    directory: str,
    classifier: Pipeline,
    tiles: Posteriors,
    label_names: tuple[str, ...],
    results: dict[str, Any],
) -> None:
    """Write every file of the run, `metrics.json` last; an old one goes first."""
    storage.delete(storage.join(directory, METRICS))
    recordings = per_recording(tiles)
    classes = range(len(label_names))
    confusion = confusion_matrix(recordings.truth, recordings.predicted, labels=classes)
    title = f"{results['encoder']} + {results['head']}, per recording"
    png = confusion_png(confusion, label_names, title)
    model = io.BytesIO()
    joblib.dump({"classifier": classifier, "label_names": label_names}, model)
    storage.write_bytes(storage.join(directory, "model", "classifier.joblib"), model.getvalue())
    storage.write_bytes(storage.join(directory, "confusion_matrix.png"), png)
    storage.write_text(
        storage.join(directory, "predictions.csv"), _predictions_csv(recordings, label_names)
    )
    reports = [
        f"per {level}\n{_classification_report(posteriors, label_names)}"
        for level, posteriors in (("recording", recordings), ("tile", tiles))
    ]
    storage.write_text(storage.join(directory, "classification_report.txt"), "\n".join(reports))
    storage.write_text(storage.join(directory, METRICS), json.dumps(results, indent=2) + "\n")


def _predictions_csv(recordings: Posteriors, label_names: tuple[str, ...]) -> str:
    names = np.array(label_names)
    table = pd.DataFrame(
        {
            "recording_id": recordings.recording_ids,
            "label": names[recordings.truth],
            "predicted": names[recordings.predicted],
        }
        | {f"p_{name}": recordings.probabilities[:, i] for i, name in enumerate(label_names)}
    )
    return str(table.to_csv(index=False, float_format="%.6f"))


def _classification_report(posteriors: Posteriors, label_names: tuple[str, ...]) -> str:
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
