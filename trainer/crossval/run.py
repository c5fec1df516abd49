"""Cross-validation: encoders, classifiers on each split, and scores over all folds together.

``JOB/<mode>/encoders/<name>/`` are training runs, ``JOB/<mode>/classifiers/<partition>/<run>/``
the results of `trainer.classify.run`, ``JOB/<mode>/<run>.json`` the scores of an encoder and a
head over all splits, ``JOB/<mode>/vectors/`` those that depend on no training.
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
from trainer.choices import STATISTICS_KINDS, EncoderKind
from trainer.classify.run import evaluate
from trainer.config import ClassifyConfig, TrainConfig
from trainer.crossval.folds import Mode, Split, splits_of
from trainer.crossval.summary import pooled_scores
from trainer.data.features import open_features
from trainer.runtime.job_dir import METRICS
from trainer.train.run import train

_LOG = logging.getLogger(__name__)

PREDICTIONS = "predictions.csv"


class CrossValidation:
    """A protocol, carried out in a job directory; finished parts are not done again."""

    def __init__(
        self,
        data: str,
        job_dir: str,
        config: TrainConfig,
        classifier: ClassifyConfig,
        mode: Mode,
        terminated: Callable[[], bool],
    ) -> None:
        """`config` and `classifier` have no partitions: the protocol determines them.

        Raises:
            InputError: there are no features, or they have no folds.
        """
        self._data, self._config, self._classifier = data, config, classifier
        self._mode, self._terminated = mode, terminated
        self._home = storage.join(job_dir, mode)
        self._info = open_features(data).info
        self._splits = splits_of(self._info.partitions, mode)

    def run(self, encoders: Sequence[EncoderKind], head: str) -> dict[str, Any]:
        """Train what is missing, measure each kind of vector on each split, write the scores.

        Returns:
            ``mode``, and ``runs``: the scores by name such as ``trained-logistic``.
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
        """Train the encoder of a split, or resume its training; return its job directory."""
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
        # Not extended: the scores of a shorter training would stay.
        train(self._data, job_dir, config, self._terminated, may_extend=False)
        keras.utils.clear_session(free_memory=True)
        return job_dir

    def _measure(self, split: Split, job_dir: str, encoder: EncoderKind, head: str) -> None:
        """Fit and measure a classifier, unless it was done before with the same settings."""
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
            vectors_home=self._home if encoder in STATISTICS_KINDS else None,
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
            per_split[split.test] = {key: metrics[key] for key in ("recording", "tile")} | {
                "unseen_labels": metrics.get("unseen_labels", {})
            }
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
