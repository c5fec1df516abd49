"""Cross-validation: encoders, classifiers on each split, and scores over all folds together.

``JOB/<mode>/encoders/<name>/`` are training runs, ``JOB/<mode>/classifiers/<partition>/<run>/``
what `trainer.classify.run` writes, ``JOB/<mode>/<run>.json`` the scores of a kind of vector and a
head over all splits.
"""

import io
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import keras
import numpy as np
import pandas as pd

from dem import storage
from dem.errors import InputError
from dem.settings import as_yaml_values, describe_differences
from trainer.classify.run import EncoderKind, Head, evaluate
from trainer.config import ClassifyConfig, TrainConfig
from trainer.crossval.folds import Mode, Split, splits_of
from trainer.data.features import open_features
from trainer.metrics.scores import score
from trainer.runtime.job_dir import METRICS
from trainer.train.run import train

_LOG = logging.getLogger(__name__)

PREDICTIONS = "predictions.csv"


class CrossValidation:
    """A protocol, carried out in a job directory; what is there already is not done again."""

    def __init__(
        self,
        data: str,
        job_dir: str,
        config: TrainConfig,
        classifier: ClassifyConfig,
        mode: Mode,
        terminated: Callable[[], bool],
    ) -> None:
        """`config` and `classifier` without partitions: these follow from the protocol.

        Raises:
            InputError: the data have no folds, or no features are there.
        """
        self._data, self._config, self._classifier = data, config, classifier
        self._mode, self._terminated = mode, terminated
        self._home = storage.join(job_dir, mode)
        self._info = open_features(data).info
        self._splits = splits_of(self._info.partitions, mode)

    def run(self, encoders: Sequence[EncoderKind], head: Head) -> dict[str, Any]:
        """Train what is missing, measure each kind of vector on each split, write the scores.

        Returns:
            ``mode``, and ``runs``: by name such as ``trained-logistic`` what was written.
        """
        runs = {}
        for encoder in encoders:
            name = f"{encoder}-{head}"
            for split in self._splits:
                job = self._encoder_job(split)
                self._measure(split, job, encoder, head)
            runs[name] = self._summary(name)
            uri = storage.join(self._home, f"{name}.json")
            storage.write_text(uri, json.dumps(runs[name], indent=2) + "\n")
        return {"mode": self._mode, "runs": runs}

    def _encoder_job(self, split: Split) -> str:
        """Train the encoder of a split, or go on with it; return its job directory."""
        job_dir = storage.join(self._home, "encoders", split.encoder)
        if not storage.exists(storage.join(job_dir, METRICS)):
            partitions = ", ".join(split.encoder_train)
            _LOG.info(f"{self._mode}: encoder {split.encoder} is trained on {partitions}")
        config = replace(
            self._config,
            train_partitions=split.encoder_train,
            validation_partitions=(),
            test_partitions=(),
        )
        train(self._data, job_dir, config, self._terminated)
        keras.utils.clear_session(free_memory=True)
        return job_dir

    def _measure(self, split: Split, job_dir: str, encoder: EncoderKind, head: Head) -> None:
        """Fit and measure a classifier, unless that was done with the same settings."""
        directory = self._directory(split, f"{encoder}-{head}")
        config = replace(
            self._classifier,
            train_partitions=split.train,
            validation_partitions=(),
            test_partitions=(split.test,),
        )
        done = storage.join(directory, "crossval.json")
        settings = as_yaml_values({"job_dir": job_dir, **asdict(config)})
        if storage.exists(done):
            if different := describe_differences(json.loads(storage.read_text(done)), settings):
                raise InputError(
                    f"{directory} was made with other settings: {different}; choose another "
                    "--job-dir"
                )
            return
        evaluate(
            self._data,
            job_dir,
            encoder,
            head,
            config,
            transductive=self._mode == "transductive",
            directory=directory,
        )
        storage.write_text(done, json.dumps(settings) + "\n")

    def _directory(self, split: Split, run: str) -> str:
        return storage.join(self._home, "classifiers", split.test, run)

    def _summary(self, run: str) -> dict[str, Any]:
        """Scores of a run: per split, and over the recordings of all folds."""
        per_split, folds = {}, []
        for split in self._splits:
            directory = self._directory(split, run)
            metrics = json.loads(storage.read_text(storage.join(directory, METRICS)))
            per_split[split.test] = {key: metrics[key] for key in ("recording", "tile")}
            if split.is_fold:
                predictions = storage.read_text(storage.join(directory, PREDICTIONS))
                folds.append(pd.read_csv(io.StringIO(predictions), dtype=str, na_filter=False))
        fold_scores = [
            per_split[split.test]["recording"] for split in self._splits if split.is_fold
        ]
        return {
            "mode": self._mode,
            "settings": asdict(self._config),
            "fingerprint": self._info.fingerprint,
            "content_sha256": self._info.content_sha256,
            "seed": self._config.seed,
            "folds": pooled_scores(pd.concat(folds), self._info.label_names, self._classifier.seed),
            "mean_over_folds": {
                name: float(np.mean([scores[name] for scores in fold_scores]))
                for name in ("macro_f1", "accuracy", "knn_accuracy")
            },
            "per_split": per_split,
        }


def pooled_scores(
    predictions: pd.DataFrame, label_names: Sequence[str], seed: int
) -> dict[str, Any]:
    """Score the predictions of all folds as one table, each recording being tested once.

    Args:
        predictions: columns ``recording_id``, ``label``, ``predicted``, ``knn_predicted``.
        label_names: names of the classes.
        seed: for the bootstrap over recordings.

    Returns:
        What `trainer.metrics.scores.score` does for the classifier, and ``knn_accuracy`` with its
        interval.

    Raises:
        InputError: a recording is in two folds.
    """
    twice = predictions["recording_id"][predictions["recording_id"].duplicated()]
    if len(twice):
        raise InputError(f"recording {twice.iloc[0]!r} is in two folds; make the features anew")
    numbers = {name: index for index, name in enumerate(label_names)}
    truth, predicted, nearest = (
        predictions[column].map(numbers).to_numpy(np.int64)
        for column in ("label", "predicted", "knn_predicted")
    )
    rows, names = np.arange(len(truth)), tuple(label_names)
    knn = score(truth, nearest, rows, names, seed)
    return score(truth, predicted, rows, names, seed) | {
        "recordings": len(truth),
        "knn_accuracy": knn["accuracy"],
        "knn_accuracy_ci95": knn["accuracy_ci95"],
    }
