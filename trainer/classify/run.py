"""The classifier stage: from vectors of tiles to a classifier, its scores and its files."""

import dataclasses
import functools
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from dem import storage
from dem.errors import InputError
from dem.settings import build_settings
from dem.termination import sigterm_received
from trainer.choices import ENCODER_KINDS, HEADS, EncoderKind
from trainer.classify.coverage import (
    count_recordings,
    describe_thin,
    describe_unseen,
    unseen_labels,
)
from trainer.classify.examples import Examples, Roles
from trainer.classify.heads import Classifiers
from trainer.classify.labeller import Labeller
from trainer.classify.outputs import comparison_table, log_evaluation, read_runs, write_results
from trainer.classify.posteriors import Posteriors
from trainer.classify.splits import require_apart
from trainer.classify.supervised import train_supervised
from trainer.config import ClassifyConfig, ResolvedClassifyConfig, ResolvedConfig
from trainer.data.checks import check_fingerprint
from trainer.data.features import Features, open_features
from trainer.data.overlap import shifts
from trainer.data.shards import CorruptRecords
from trainer.data.vector_table import VectorTable, recording_table
from trainer.embed.stored import (
    Encoder,
    built_encoder,
    encoder_settings,
    statistics_encoder,
    stored_vectors,
    trained_encoder,
    untrained_encoder,
)
from trainer.metrics.neighbours import knn_labels
from trainer.metrics.quality import measure_quality
from trainer.metrics.scores import score
from trainer.runtime.job_dir import CLASSIFIER, read_job_config
from trainer.runtime.training_recordings import require_not_trained_on

_LOG = logging.getLogger(__name__)


def evaluate(
    data: str,
    job_dir: str,
    encoder: EncoderKind,
    head: str,
    config: ClassifyConfig,
    *,
    transductive: bool = False,
    directory: str | None = None,
    vectors_home: str | None = None,
) -> dict[str, Any]:
    """Fit classifiers to the training partitions, measure them on the test partitions, write all.

    Args:
        data: features directory.
        job_dir: of a training run.
        encoder: what turns tiles into vectors.
        head: what turns vectors into labels.
        config: the settings; partitions that they leave open are those of the training run.
        transductive: allow test recordings that a ``trained`` encoder was trained on; the result
            says so.
        directory: where to write; None: ``JOB/classifier/<encoder>-<head>``, and TensorBoard
            shows the run.
        vectors_home: directory whose ``vectors/`` are used; None: `job_dir`.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        InputError: data and model do not fit, there is nothing to classify, or the encoder or the
            classifier was trained on test recordings.
        JobError: more records are corrupt than the training tolerates.
    """
    features = open_features(data)
    job = read_job_config(job_dir)
    check_fingerprint(job.fingerprint, features)
    if encoder == "trained":
        _require_own_split(features, job_dir, job, config)
    resolved = _resolve(config, job, features)
    model = _encoder(encoder, features, job_dir, job, resolved)
    corrupt = CorruptRecords(job.corrupt_records_budget, f"the training of {job_dir}")
    read = functools.partial(_examples, model, features, vectors_home or job_dir, corrupt, resolved)
    roles = _read_roles(
        read, resolved, job_dir if encoder == "trained" and not transductive else None
    )
    corrupt.log_skipped()
    roles, names = roles.numbered(features.info.label_names)
    unseen = _report_coverage(roles, resolved, names)
    classifiers = Classifiers.fit(HEADS[head], roles.train, roles.validation, resolved, names)
    predictions = _predict(classifiers, roles)
    results = {
        "encoder": encoder,
        "head": head,
        "transductive": transductive and encoder == "trained",
        "regularisation": classifiers.regularisation,
        **_described(resolved),
        "label_names": list(names),
        "unseen_labels": unseen,
        **_measure(predictions, roles.test.tiles, names, resolved.seed, job.retrieval_gap_s),
    }
    if directory is None:
        name = f"{encoder}-{head}"
        log_evaluation(
            job_dir, name, predictions.vectors, predictions.recordings, names, resolved.seed
        )
        directory = storage.join(job_dir, CLASSIFIER, name)
    spec = features.info.feature_spec
    write_results(
        directory,
        Labeller(model.model, spec, classifiers, head, names, resolved.overlap),
        predictions.tiles,
        predictions.recordings,
        predictions.nearest,
        results,
    )
    return results


def comparison(job_dir: str) -> str:
    """Table of all classifier runs of a job, in the order of `ENCODER_KINDS`."""
    runs = read_runs(job_dir)
    names = [f"{encoder}-{head}" for encoder in ENCODER_KINDS for head in HEADS]
    return comparison_table({name: runs[name] for name in names if name in runs})


def _resolve(
    config: ClassifyConfig, job: ResolvedConfig, features: Features
) -> ResolvedClassifyConfig:
    """Fill in the partitions of the training run, and check that they fit the data."""
    if not features.info.label_names:
        raise InputError(f"{features.uri} has no labels, so there is nothing to classify")
    settings = dataclasses.asdict(config)
    for role in ("train", "validation", "test"):
        name = f"{role}_partitions"
        settings[name] = getattr(job, name) if settings[name] is None else settings[name]
        features.shard_uris(settings[name])  # raises where there is no such one
    return build_settings(ResolvedClassifyConfig, settings)


def _require_own_split(
    features: Features, job_dir: str, job: ResolvedConfig, config: ClassifyConfig
) -> None:
    """Raise an InputError where the job's partitions would be used on other features than its own.

    Features that were updated after the training are others.
    """
    chosen = config.train_partitions is not None and config.test_partitions is not None
    if job.content_sha256 != features.info.content_sha256 and not chosen:
        raise InputError(
            f"{features.uri} is not what {job_dir} was trained on, or has changed since; train "
            "again in another --job-dir, or, to measure this encoder on it, choose partitions of "
            "it with --set train_partitions=[…] test_partitions=[…]"
        )


def _report_coverage(
    roles: Roles, config: ResolvedClassifyConfig, names: tuple[str, ...]
) -> dict[str, int]:
    """Log which labels lack recordings; return the test recordings of those without training."""
    trained, tested = (count_recordings(role.tiles, names) for role in (roles.train, roles.test))
    checked = count_recordings(roles.validation.tiles, names) if roles.validation else {}
    for counts, partitions in (
        (checked, config.validation_partitions),
        (tested, config.test_partitions),
    ):
        if unseen := unseen_labels(trained, counts):
            _LOG.warning(describe_unseen(unseen, sum(counts.values()), partitions))
    for line in describe_thin(trained, tested):
        _LOG.info(line)
    return unseen_labels(trained, tested)


def _encoder(
    kind: EncoderKind,
    features: Features,
    job_dir: str,
    job: ResolvedConfig,
    config: ResolvedClassifyConfig,
) -> Encoder:
    """Build or load what turns tiles into vectors."""
    if kind == "trained":
        return trained_encoder(job_dir)
    if kind == "none" or kind == "modulation":
        return statistics_encoder(kind, features.info.feature_spec)
    moments = features.info.moments(config.train_partitions)
    if kind == "random":
        return untrained_encoder(features.info.feature_spec, job, moments)
    home = storage.join(job_dir, CLASSIFIER, kind)
    model = train_supervised(features, config.train_partitions, job, home, sigterm_received)
    return built_encoder(kind, model, encoder_settings(job, moments))


def _examples(
    encoder: Encoder,
    features: Features,
    home: str,
    corrupt: CorruptRecords,
    config: ResolvedClassifyConfig,
    role: str,
) -> Examples:
    """Read the labelled tiles of a role's partitions, as vectors."""
    partitions: tuple[str, ...] = getattr(config, f"{role}_partitions")
    grids = [
        stored_vectors(encoder, features, partitions, home, corrupt, shift=shift).labelled
        for shift in shifts(features.info.feature_spec.tile_frames, config.overlap)
    ]
    tiles = grids[0]
    if not len(tiles.labels):
        raise InputError(
            f"no labelled tiles in {role}_partitions={list(partitions)}; name some that hold "
            f"labels with --set {role}_partitions=[…]"
        )
    return Examples(tiles, VectorTable.concatenate(grids))


def _read_roles(
    read: Callable[[str], Examples], config: ResolvedClassifyConfig, trained_in: str | None
) -> Roles:
    """Read the examples of each role.

    Args:
        read: those of a role.
        config: which of them there are.
        trained_in: job directory of an encoder that must not have been trained on the test; None:
            that does not matter.

    Raises:
        InputError: a test recording belongs to the training, of the encoder or of the classifiers.
    """
    test = read("test")
    if trained_in is not None:
        require_not_trained_on(trained_in, test.tiles.recording_ids)
    train = read("train")
    require_apart(train.tiles, test.tiles)
    return Roles(train, read("validation") if config.validation_partitions else None, test)


@dataclasses.dataclass(frozen=True)
class _Predictions:
    """Predictions for the test, by classifiers and by neighbours among training recordings."""

    tiles: Posteriors
    recordings: Posteriors
    vectors: VectorTable  # one row per recording, in the order of `recordings`
    nearest: npt.NDArray[np.int64]  # label by the nearest neighbours, per recording


def _predict(classifiers: Classifiers, roles: Roles) -> _Predictions:
    fitted, tested = roles.train.recordings, roles.test.recordings
    nearest = knn_labels(fitted.vectors, fitted.labels, tested.vectors)
    tiles, recordings = (
        classifiers.of_tiles(roles.test.tiles),
        classifiers.of_recordings(roles.test),
    )
    return _Predictions(tiles, recordings, tested, nearest)


def _described(config: ResolvedClassifyConfig) -> dict[str, Any]:
    """The settings that belong to the results."""
    roles = ("train_partitions", "validation_partitions", "test_partitions")
    partitions = {name: list(getattr(config, name)) for name in roles}
    names = ("recording_from", "overlap", "seed")
    return {name: getattr(config, name) for name in names} | partitions


def _measure(
    predictions: _Predictions,
    test: VectorTable,
    label_names: tuple[str, ...],
    seed: int,
    gap_s: float,
) -> dict[str, Any]:
    """Scores of tiles and recordings, and the quality of the vectors."""
    knn_accuracy = float(np.mean(predictions.nearest == predictions.vectors.labels))
    recording = _scores(predictions.recordings, label_names, seed) | {"knn_accuracy": knn_accuracy}
    vectors = recording_table(test)
    return {
        "tile": _scores(predictions.tiles, label_names, seed),
        "recording": recording,
        "quality": {
            "tile": measure_quality(test.select(test.audible), seed, gap_s),
            "recording": measure_quality(vectors.select(vectors.audible), seed, gap_s),
        },
    }


def _scores(posteriors: Posteriors, label_names: tuple[str, ...], seed: int) -> dict[str, Any]:
    _, groups = np.unique(posteriors.recording_ids, return_inverse=True)
    return score(posteriors.truth, posteriors.predicted, groups, label_names, seed)
