"""The classifier stage: vectors of tiles, a classifier, its scores, and files that show them."""

import dataclasses
from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt

from dem import storage
from dem.errors import InputError
from dem.settings import build_settings
from dem.termination import sigterm_received
from trainer.classify.comparison import comparison_table
from trainer.classify.figures import log_evaluation
from trainer.classify.heads import HEADS, Classifiers
from trainer.classify.labeller import Labeller
from trainer.classify.outputs import read_runs, write_results
from trainer.classify.posteriors import Posteriors
from trainer.classify.splits import require_apart
from trainer.classify.supervised import train_supervised
from trainer.config import ClassifyConfig, ResolvedClassifyConfig, ResolvedConfig
from trainer.data.checks import check_fingerprint
from trainer.data.features import Features, open_features
from trainer.metrics.quality import knn_labels, measure_quality
from trainer.metrics.scores import score
from trainer.model.encoders import build_encoder
from trainer.model.files import load_keras
from trainer.model.vectors import (
    VectorTable,
    as_representation,
    log_mel_statistics,
    recording_table,
    tile_table,
)
from trainer.runtime.job_dir import CLASSIFIER, ENCODER, read_job_config
from trainer.runtime.training_recordings import require_unheard

EncoderKind = Literal["none", "random", "trained", "supervised"]
ENCODER_KINDS: tuple[EncoderKind, ...] = ("none", "random", "trained", "supervised")
Head = Literal["logistic", "dense"]


def evaluate(
    data: str,
    job_dir: str,
    encoder: EncoderKind,
    head: Head,
    config: ClassifyConfig,
    *,
    transductive: bool = False,
    directory: str | None = None,
) -> dict[str, Any]:
    """Fit classifiers on the training partitions, measure them on the test partitions, write all.

    Args:
        data: features directory.
        job_dir: of a training run.
        encoder: what turns tiles into vectors.
        head: what turns vectors into labels.
        config: the settings; where they leave partitions open, those of the training run count.
        transductive: allow a ``trained`` encoder to have heard test recordings; the result says so.
        directory: where to write; None: ``JOB/classifier/<encoder>-<head>``, and TensorBoard
            shows the run.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        InputError: data and model do not fit, there is nothing to classify, or the encoder or the
            classifier would have learned from test recordings.
    """
    features = open_features(data)
    job = read_job_config(job_dir)
    resolved = _resolve(config, job, features)
    model = _encoder(encoder, features, job_dir, job, resolved)
    tables = _Tables(features, resolved, model)
    test = tables.of("test")
    if encoder == "trained" and not transductive:
        require_unheard(job_dir, test.recording_ids)
    train = tables.of("train")
    require_apart(train, test)
    validation = tables.of("validation") if resolved.validation_partitions else None
    names = features.info.label_names
    classifiers = Classifiers.fit(HEADS[head], train, validation, resolved, names)
    answers = _ask(classifiers, train, test)
    results = {
        "encoder": encoder,
        "head": head,
        "transductive": transductive and encoder == "trained",
        "regularisation": classifiers.regularisation,
        **_described(resolved),
        "label_names": list(names),
        **_measured(answers, test, names, resolved.seed),
    }
    labeller = Labeller(model, features.info.feature_spec, classifiers, head, names)
    if directory is None:
        name = f"{encoder}-{head}"
        log_evaluation(job_dir, name, answers.asked, answers.recordings, names, resolved.seed)
        directory = storage.join(job_dir, CLASSIFIER, name)
    write_results(directory, labeller, answers.tiles, answers.recordings, answers.nearest, results)
    return results


def comparison(job_dir: str) -> str:
    """Table of all classifier runs of a job, in the order of `ENCODER_KINDS`."""
    runs = read_runs(job_dir)
    names = [f"{encoder}-{head}" for encoder in ENCODER_KINDS for head in HEADS]
    return comparison_table({name: runs[name] for name in names if name in runs})


def _resolve(
    config: ClassifyConfig, job: ResolvedConfig, features: Features
) -> ResolvedClassifyConfig:
    """Fill in the partitions of the training run, and check that all fits the data."""
    check_fingerprint(job.fingerprint, features)
    if not features.info.label_names:
        raise InputError(f"{features.uri} has no labels, so there is nothing to classify")
    settings = dataclasses.asdict(config)
    for role in ("train", "validation", "test"):
        name = f"{role}_partitions"
        settings[name] = getattr(job, name) if settings[name] is None else settings[name]
        features.shard_uris(settings[name])  # raises where there is no such one
    return build_settings(ResolvedClassifyConfig, settings)


def _encoder(
    kind: EncoderKind,
    features: Features,
    job_dir: str,
    job: ResolvedConfig,
    config: ResolvedClassifyConfig,
) -> keras.Model:
    """Build or load what turns tiles into vectors."""
    tile_shape = features.info.feature_spec.tile_shape
    if kind == "none":
        return log_mel_statistics(tile_shape)
    if kind == "random":
        moments = features.info.moments(config.train_partitions)
        return build_encoder(job.architecture, tile_shape, job.embedding_size, moments, job.seed)
    if kind == "supervised":
        home = storage.join(job_dir, CLASSIFIER, kind)
        return train_supervised(features, config.train_partitions, job, home, sigterm_received)
    uri = storage.join(job_dir, ENCODER)
    if not storage.exists(uri):
        raise InputError(f"{uri} does not exist: the training of {job_dir} has not finished")
    return load_keras(uri)


class _Tables:
    """Labelled tiles of the partitions of a role, as vectors."""

    def __init__(
        self, features: Features, config: ResolvedClassifyConfig, encoder: keras.Model
    ) -> None:
        self._features, self._config = features, config
        self._represent = as_representation(encoder)

    def of(self, role: str) -> VectorTable:
        partitions = getattr(self._config, f"{role}_partitions")
        if partitions:
            tiles = tile_table(self._features, partitions, self._represent).labelled
        if not partitions or not len(tiles.labels):
            raise InputError(
                f"no labelled tiles in {role}_partitions={list(partitions)}; name some that hold "
                f"labels with --set {role}_partitions=[…]"
            )
        return tiles


@dataclasses.dataclass(frozen=True)
class _Answers:
    """What classifiers, and neighbours among the training recordings, say of the test."""

    tiles: Posteriors
    recordings: Posteriors
    asked: VectorTable  # one row per recording, in the order of `recordings`
    nearest: npt.NDArray[np.int64]  # label by the nearest neighbours, per recording


def _ask(classifiers: Classifiers, train: VectorTable, test: VectorTable) -> _Answers:
    reference, asked = recording_table(train), recording_table(test)
    nearest = knn_labels(reference.vectors, reference.labels, asked.vectors)
    return _Answers(classifiers.of_tiles(test), classifiers.of_recordings(test), asked, nearest)


def _described(config: ResolvedClassifyConfig) -> dict[str, Any]:
    """The settings that results are read by."""
    names = ("train_partitions", "validation_partitions", "test_partitions")
    partitions = {name: list(getattr(config, name)) for name in names}
    return {"recording_from": config.recording_from, "seed": config.seed} | partitions


def _measured(
    answers: _Answers, test: VectorTable, label_names: tuple[str, ...], seed: int
) -> dict[str, Any]:
    """Scores of tiles and recordings, and how the vectors lie."""
    knn_accuracy = float(np.mean(answers.nearest == answers.asked.labels))
    recording = _scores(answers.recordings, label_names, seed) | {"knn_accuracy": knn_accuracy}
    return {
        "tile": _scores(answers.tiles, label_names, seed),
        "recording": recording,
        "quality": {
            "tile": measure_quality(test.select(test.audible), seed),
            "recording": measure_quality(answers.asked, seed),
        },
    }


def _scores(posteriors: Posteriors, label_names: tuple[str, ...], seed: int) -> dict[str, Any]:
    _, groups = np.unique(posteriors.recording_ids, return_inverse=True)
    return score(posteriors.truth, posteriors.predicted, groups, label_names, seed)
