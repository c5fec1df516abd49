"""A training run from settings to a finished job directory; killed, it goes on where it was."""

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf
from tqdm import tqdm

from beam_features.schema.errors import JobError, Terminated
from trainer import storage
from trainer.augment import check_mixing
from trainer.collapse import PATIENCE, measure_spread, sign_of_collapse
from trainer.config import ResolvedConfig, TrainConfig
from trainer.data import (
    Features,
    open_features,
    pair_batches,
    require_pairs,
    require_shards,
    retrieval_pool,
)
from trainer.embedding import Float32, as_representation, represent_all
from trainer.encoders import build_encoder, build_projector
from trainer.export import export_encoder
from trainer.job import CHECKPOINTS, LOGS, METRICS, claim_job_dir, resolve_config
from trainer.losses import OPPOSITE_COUNTS, build_loss
from trainer.optimizer import build_optimizer
from trainer.replication import make_strategy, make_train_steps, trained_variables
from trainer.retrieval import recall_at_1
from trainer.shards import CorruptRecords

_SECONDS_PER_HOST_CALL = 1.0  # so that SIGTERM is seen soon, and the host's share stays small
_MOST_STEPS_PER_HOST_CALL = 32
_TILES_TO_WATCH = 512  # of the training partitions, for signs of collapse where no others are there


def train(
    data: str, job_dir: str, config: TrainConfig, terminated: Callable[[], bool]
) -> dict[str, Any]:
    """Train, evaluate after each epoch, export; return what `metrics.json` holds.

    Args:
        data: features directory.
        job_dir: where checkpoints, logs, export and metrics go.
        config: the settings; what they leave open is filled in from the data.
        terminated: asked between host calls whether to save and stop.

    Raises:
        InputError: the data are unusable, or the job directory belongs to other settings.
        JobError: the loss is not finite, or the embedding has collapsed.
        Terminated: `terminated()` was true; the state is saved.
    """
    features = open_features(data)
    resolved = resolve_config(config, features)
    strategy = make_strategy(resolved.replicas, resolved.batch_size)  # before TensorFlow starts
    check_mixing(resolved.augment, resolved.batch_size, strategy.num_replicas_in_sync)
    require_shards(features, [*resolved.train_partitions, *resolved.validation_partitions])
    corrupt = CorruptRecords(resolved.corrupt_records_budget)
    require_pairs(features, resolved.train_partitions, resolved.positives, corrupt)
    claim_job_dir(job_dir, resolved)
    metrics_uri = storage.join(job_dir, METRICS)
    if storage.exists(metrics_uri):
        _say(f"{job_dir} is finished already, nothing to do")
        return dict(json.loads(storage.read_text(metrics_uri)))
    metrics = _Run(features, job_dir, resolved, strategy, corrupt).to_the_end(terminated)
    storage.write_text(metrics_uri, json.dumps(metrics, indent=2) + "\n")
    return metrics


def _say(line: str) -> None:
    """Print a log line at once, above the progress bar where there is one."""
    tqdm.write(line, file=sys.stderr)


def _false_opposite_share(scalars: Mapping[str, float]) -> float | None:
    """Share of the labelled opposites that have the anchor's label; None without labels."""
    false, labelled = (scalars[name] for name in OPPOSITE_COUNTS)
    return false / labelled if labelled else None


class _Run:
    """The state of a run: model, optimizer, and how far it has come."""

    def __init__(
        self,
        features: Features,
        job_dir: str,
        config: ResolvedConfig,
        strategy: tf.distribute.Strategy,
        corrupt: CorruptRecords,
    ) -> None:
        self._features, self._job_dir, self._config = features, job_dir, config
        self._strategy, self._corrupt = strategy, corrupt
        with strategy.scope():
            self._encoder = build_encoder(
                config.encoder,
                features.info.feature_spec.tile_shape,
                config.embedding_size,
                features.info.moments(config.train_partitions),
                config.seed,
            )
            self._projector = build_projector(config.embedding_size, config.projection_size)
            self._loss = build_loss(config)
            self._summed = (*self._loss.scalars, *OPPOSITE_COUNTS)
            variables = trained_variables(self._encoder, self._projector, self._loss)
            self._optimizer = build_optimizer(config, variables)
        self._state = {
            "epoch_sums": tf.Variable(  # of these scalars, over the epoch's steps so far
                tf.zeros([len(self._summed)], tf.float64)
            ),
            "collapsed_epochs": tf.Variable(0),  # in a row, with a sign of collapse
            "seconds": tf.Variable(0.0, dtype=tf.float64),  # in training steps, over all restarts
        }
        self._checkpoint = tf.train.Checkpoint(
            encoder=self._encoder,
            projector=self._projector,
            loss=list(self._loss.layers),
            optimizer=self._optimizer,
            **self._state,
        )
        self._checkpoints = tf.train.CheckpointManager(
            self._checkpoint, storage.join(job_dir, CHECKPOINTS), max_to_keep=2
        )
        self._train_steps = make_train_steps(
            strategy,
            self._encoder,
            self._projector,
            self._loss,
            self._optimizer,
            clip_norm=config.clip_norm,
            augment=config.augment,
            seed=config.seed,
        )
        self._logs = tf.summary.create_file_writer(storage.join(job_dir, LOGS))
        self._encode = as_representation(self._encoder)
        self._project = as_representation(self._projector)
        self._pool = retrieval_pool(features, config.validation_partitions, corrupt=corrupt)
        self._watched = (
            self._pool
            if len(self._pool.contexts)
            else retrieval_pool(
                features, config.train_partitions, size=_TILES_TO_WATCH, corrupt=corrupt
            )
        )
        self._recall: float | None = None  # after the last epoch, once measured
        self._total_steps = config.epochs * config.steps_per_epoch

    @property
    def _devices(self) -> list[str]:
        """Short names such as ``GPU:0``."""
        names = self._strategy.extended.worker_devices
        return [name.rpartition("device:")[2] for name in names]

    @property
    def _step(self) -> int:
        return int(self._optimizer.iterations.numpy())

    def to_the_end(self, terminated: Callable[[], bool]) -> dict[str, Any]:
        """Train from the last checkpoint to the last epoch, export, and return the metrics."""
        if latest := self._checkpoints.latest_checkpoint:
            self._checkpoint.restore(latest).assert_existing_objects_matched()
            _say(f"going on from step {self._step} of {self._total_steps}")
        _say(f"training on {', '.join(self._devices)}")
        with tqdm(total=self._total_steps, initial=self._step, unit="step", disable=None) as bar:
            while self._step < self._total_steps:
                self._finish_epoch(bar, terminated)
                self._report_epoch()  # first: a run that stops here must stop here again
                self._checkpoints.save(self._step)
        export_encoder(self._encoder, self._features.info.feature_spec, self._job_dir)
        return self._metrics()

    def _finish_epoch(self, bar: "tqdm[Any]", terminated: Callable[[], bool]) -> None:
        """Make the steps that are left of the current epoch."""
        config = self._config
        epoch, done = divmod(self._step, config.steps_per_epoch)
        batches = pair_batches(
            self._features,
            config.train_partitions,
            positives=config.positives,
            neighbourhood_s=config.neighbourhood_s,
            batch_size=config.batch_size,
            seed=config.seed,
            epoch=epoch,
            corrupt=self._corrupt,
        )
        rest = batches.skip(done).take(config.steps_per_epoch - done).prefetch(tf.data.AUTOTUNE)
        iterator = iter(self._strategy.experimental_distribute_dataset(rest))
        if not done:
            self._state["epoch_sums"].assign(tf.zeros_like(self._state["epoch_sums"]))
        n_steps = 1
        while done < config.steps_per_epoch:
            if terminated():
                self._checkpoints.save(self._step)
                self._logs.flush()
                raise Terminated(f"state saved at step {self._step} of {self._total_steps}")
            took_s = self._make_steps(iterator, n_steps)
            done += n_steps
            bar.update(n_steps)
            wanted = int(_SECONDS_PER_HOST_CALL / took_s * n_steps)
            n_steps = min(max(wanted, 1), _MOST_STEPS_PER_HOST_CALL, config.steps_per_epoch - done)

    def _make_steps(self, batches: Iterator[Any], n_steps: int) -> float:
        """Make `n_steps` steps in one host call, log their mean scalars, return the seconds."""
        begin = time.monotonic()
        try:
            scalars = self._train_steps(batches, tf.constant(n_steps, tf.int64))
        except tf.errors.OpError as error:
            raise self._corrupt.error or error from None
        values = {name: float(value) for name, value in scalars.items()}
        took_s = time.monotonic() - begin
        if not math.isfinite(values["loss"]):
            raise JobError(
                f"the loss is {values['loss']} at step {self._step}; choose another --job-dir and "
                f"a lower learning_rate than {self._config.learning_rate}"
            )
        means = [values[name] for name in self._summed]
        self._state["epoch_sums"].assign_add(tf.constant(means, tf.float64) * n_steps)
        self._state["seconds"].assign_add(took_s)
        share = _false_opposite_share(values)
        values = {name: value for name, value in values.items() if name not in OPPOSITE_COUNTS}
        if share is not None:
            values["false_opposite_share"] = share
        self._log(values | {"tiles_per_s": 2 * self._config.batch_size * n_steps / took_s})
        return took_s

    def _report_epoch(self) -> None:
        """Measure and report how good the embedding is after an epoch."""
        epoch = self._step // self._config.steps_per_epoch
        line = (
            f"epoch {epoch}/{self._config.epochs}  step {self._step}/{self._total_steps}  "
            f"loss {self._epoch_means['loss']:.4f}"
        )
        embeddings = represent_all(self._encode, self._watched.log_mel)
        self._recall = self._recall_at_1(embeddings)
        if self._recall is not None:
            self._log({"recall_at_1": self._recall})
            line += f"  recall_at_1 {self._recall:.3f}"
        share = _false_opposite_share(self._epoch_means)
        if share is not None:
            line += f"  false_opposite_share {share:.3f}"
        spread = measure_spread(embeddings, represent_all(self._project, embeddings))
        self._log(spread)
        self._logs.flush()  # here, not with every scalar: on gs:// it writes the whole file again
        _say(line)
        self._watch_for_collapse(spread)

    def _recall_at_1(self, embeddings: Float32) -> float | None:
        """Recall on the validation partitions; None without any."""
        return recall_at_1(embeddings, self._pool.contexts) if len(self._pool.contexts) else None

    def _watch_for_collapse(self, spread: dict[str, float]) -> None:
        """Warn at signs of collapse, and stop the run when they stay.

        Raises:
            JobError: there was a sign after each of the last `PATIENCE` epochs.
        """
        config, collapsed = self._config, self._state["collapsed_epochs"]
        sign = sign_of_collapse(spread, self._epoch_means, config.margin)
        if sign is None:
            collapsed.assign(0)
            return
        if collapsed.assign_add(1) == 1:
            _say(f"warning: the embedding seems to collapse: {sign}")
        if collapsed >= PATIENCE:
            hard = config.loss == "triplet" and config.mining == "hard"
            raise JobError(
                f"the embedding has collapsed: {sign}, and such signs for {PATIENCE} epochs; "
                f"choose another --job-dir and a lower learning_rate than {config.learning_rate}"
                f"{' or mining=semi_hard' if hard else ''}"
            )

    @property
    def _epoch_means(self) -> dict[str, float]:
        """Mean scalars of the loss, and counts of opposites, over the last epoch."""
        means = self._state["epoch_sums"].numpy() / self._config.steps_per_epoch
        return dict(zip(self._summed, means.tolist(), strict=True))

    def _log(self, scalars: dict[str, float]) -> None:
        with self._logs.as_default(step=self._step):
            for name, value in scalars.items():
                tf.summary.scalar(name, value)

    def _metrics(self) -> dict[str, Any]:
        seconds = float(self._state["seconds"])
        if self._recall is None:  # restarted after the last epoch
            embeddings = represent_all(self._encode, self._watched.log_mel)
            self._recall = self._recall_at_1(embeddings)
        return {
            "steps": self._step,
            "epochs": self._config.epochs,
            "loss": self._epoch_means["loss"],
            "recall_at_1": self._recall,
            "false_opposite_share": _false_opposite_share(self._epoch_means),
            "corrupt_records": self._corrupt.count,
            "parameters": self._encoder.count_params(),
            "devices": self._devices,
            "replicas": self._strategy.num_replicas_in_sync,
            "seconds": seconds,
            "tiles_per_s": 2 * self._config.batch_size * self._step / seconds,
        }
