"""A training run from settings to a finished job directory; killed, it goes on where it was."""

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf
from tqdm import tqdm

from dem import storage
from dem.errors import DivergedError, InputError, Terminated
from dem.termination import keep_watching, unsaved_state
from trainer.config import ResolvedConfig, TrainConfig
from trainer.data.augment import check_mixing
from trainer.data.checks import require_audible, require_pairs, require_shards
from trainer.data.features import Features, open_features
from trainer.data.pairs import pair_batches
from trainer.data.shards import CorruptRecords
from trainer.data.tiles import recording_ids
from trainer.metrics.collapse import PATIENCE, sign_of_collapse
from trainer.model.export import export_encoder
from trainer.model.learner import build_learner
from trainer.model.losses import OPPOSITE_COUNTS
from trainer.model.precision import check_jit, warnings_about
from trainer.runtime.job_dir import CHECKPOINTS, LOGS, METRICS, check_job_dir, claim_job_dir
from trainer.runtime.memory import peak_gpu_memory_mib, peak_memory_mib
from trainer.runtime.training_recordings import write_training_recordings
from trainer.train.checkpoints import Checkpoints
from trainer.train.cluster import (
    Cluster,
    make_exchange,
    read_cluster,
    require_agreement,
    wait_for_all,
    watch_for_lost_workers,
)
from trainer.train.resolve import resolve_config
from trainer.train.step import distribute, make_strategy, make_train_steps
from trainer.train.tensorboard import Telemetry
from trainer.train.validation import Validation

_LOG = logging.getLogger(__name__)

_SECONDS_PER_HOST_CALL = 1.0  # so that SIGTERM is seen soon, and the host's share stays small
_MOST_STEPS_PER_HOST_CALL = 32


def _tell_nobody(epoch: int, recall_at_1: float | None) -> None:
    """What `train` does with epochs unless it is told otherwise."""


def train(
    data: str,
    job_dir: str,
    config: TrainConfig,
    terminated: Callable[[], bool],
    report_epoch: Callable[[int, float | None], None] = _tell_nobody,
) -> dict[str, Any]:
    """Train, evaluate after each epoch, export; return what `metrics.json` holds.

    Args:
        data: features directory.
        job_dir: where checkpoints, logs, export and metrics go.
        config: the settings; what they leave open is filled in from the data.
        terminated: asked while there is unsaved state whether to save and stop.
        report_epoch: told the number of each epoch that is over, from 1, and its `recall_at_1`;
            one that is over but not saved is told again after a restart.

    Raises:
        InputError: the data are unusable, or the job directory belongs to other settings.
        DivergedError: the loss is not finite, or the embedding has collapsed.
        JobError: the disk is full, or another worker is gone.
        Terminated: `terminated()` was true; the state is saved.
    """
    features = open_features(data)
    resolved = resolve_config(config, features)
    check_job_dir(job_dir, resolved)
    metrics_uri = storage.join(job_dir, METRICS)
    if storage.exists(metrics_uri):
        _LOG.info(f"{job_dir} is finished already, nothing to do")
        return dict(json.loads(storage.read_text(metrics_uri)))
    cluster = read_cluster()
    if cluster.workers > 1:
        _LOG.info(f"worker {cluster.index} of {cluster.workers}, waiting for the others")
    with watch_for_lost_workers(cluster, terminated):
        strategy = make_strategy(resolved.replicas, resolved.batch_size)  # starts TensorFlow
        keep_watching()
        check_mixing(resolved.augment, resolved.batch_size, strategy.num_replicas_in_sync)
        require_shards(features, [*resolved.train_partitions, *resolved.validation_partitions])
        corrupt = CorruptRecords(resolved.corrupt_records_budget)
        require_pairs(features, resolved.train_partitions, resolved.positives, corrupt)
        if resolved.validation_partitions:
            require_audible(features, resolved.validation_partitions, corrupt)
        run = _Run(features, job_dir, resolved, strategy, cluster, corrupt, terminated)
        return run.to_the_end(report_epoch)


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
        cluster: Cluster,
        corrupt: CorruptRecords,
        terminated: Callable[[], bool],
    ) -> None:
        self._features, self._job_dir, self._config = features, job_dir, config
        self._strategy, self._cluster, self._terminated = strategy, cluster, terminated
        self._corrupt = corrupt
        self._exchange = make_exchange(strategy, cluster)
        self._total_steps = config.epochs * config.steps_per_epoch
        info = features.info
        with strategy.scope():
            moments = info.moments(config.train_partitions)
            learner = build_learner(config, info.feature_spec.tile_shape, moments)
        self._encoder = learner.encoder
        self._summed = (*learner.loss.scalars, *OPPOSITE_COUNTS)
        self._check_start()
        self._state = {
            "step": tf.Variable(0, dtype=tf.int64),  # float16 may skip one of the optimizer's
            "epochs_reported": tf.Variable(0),
            "epoch_sums": tf.Variable(  # of these scalars, over the epoch's steps so far
                tf.zeros([len(self._summed)], tf.float64)
            ),
            "recall_at_1": tf.Variable(math.nan),  # after the last epoch
            "collapsed_epochs": tf.Variable(0),  # in a row, with a sign of collapse
            "seconds": tf.Variable(0.0, dtype=tf.float64),  # in training steps, over all restarts
            "input_wait_s": tf.Variable(0.0, dtype=tf.float64),  # of these, waiting for batches
        }
        checkpoint = tf.train.Checkpoint(**learner.state, **self._state)
        directory = storage.join(job_dir, CHECKPOINTS)
        self._checkpoints = Checkpoints(checkpoint, directory, is_chief=cluster.is_chief)
        self._train_steps = make_train_steps(
            strategy,
            learner,
            clip_norm=config.clip_norm,
            augment=config.augment,
            seed=config.seed,
            jit_compile=config.jit_compile,
        )
        resumed = self._restore()
        self._telemetry = Telemetry(
            storage.join(job_dir, LOGS),
            config.profile_steps,
            is_chief=cluster.is_chief,
            step=self._step,
        )
        if not resumed:
            self._telemetry.log_settings(config)
        self._validation = Validation(
            features, config, learner.encoder, learner.projector, corrupt, self._stop_if_asked
        )

    def _check_start(self) -> None:
        """Refuse or warn of what would fail later; then the job directory is ours."""
        config, cluster = self._config, self._cluster
        require_agreement(self._exchange, "settings or data", config)
        if config.jit_compile:
            check_jit(self._encoder, self._strategy.num_replicas_in_sync)
        on_gpu = any(device.startswith("GPU") for device in self._devices)
        for warning in warnings_about(config.precision, on_gpu=on_gpu):
            self._log(logging.WARNING, warning)
        if cluster.is_chief:
            claim_job_dir(self._job_dir, config)

    @property
    def _devices(self) -> list[str]:
        """Short names such as ``GPU:0``, of this host's."""
        names = self._strategy.extended.worker_devices
        return [name.rpartition("device:")[2] for name in names]

    @property
    def _step(self) -> int:
        return int(self._state["step"].numpy())

    @property
    def _epochs_reported(self) -> int:
        return int(self._state["epochs_reported"].numpy())

    def to_the_end(self, report_epoch: Callable[[int, float | None], None]) -> dict[str, Any]:
        """Train from the last checkpoint to the last epoch, export, and return the metrics."""
        replicas = self._strategy.num_replicas_in_sync
        others = f" of {replicas} on {self._cluster.workers} hosts"
        self._log(
            logging.INFO,
            f"training on {', '.join(self._devices)}{others if self._cluster.workers > 1 else ''}",
        )
        if self._step < self._total_steps:
            self._trace()
        with unsaved_state(), self._progress_bar() as bar:
            while self._epochs_reported < self._config.epochs:
                self._finish_epoch(bar)
                recall = self._report_epoch()  # first: what stops here must stop here again
                report_epoch(self._epochs_reported, recall)
                self._checkpoints.save()
        return self._finish()

    def _restore(self) -> bool:
        """Go back to the last checkpoint, if there is one."""
        restored = self._checkpoints.restore_newest()
        if restored:
            self._log(logging.INFO, f"going on from step {self._step} of {self._total_steps}")
        steps = self._exchange([self._step])[:, 0]
        if (steps != self._step).any():
            raise InputError(
                f"the workers see checkpoints of steps {steps.tolist()}; give a --job-dir on "
                "storage that all of them share"
            )
        return restored

    def _trace(self) -> None:
        """Build the graph, which may take longer than one waits for an answer to SIGTERM."""
        zero = tf.constant(0, tf.int64)
        self._train_steps(self._batches(), zero, zero)

    def _batches(self) -> Iterator[Any]:
        """The batches that are left of the current epoch."""
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
        rest = batches.skip(done).take(config.steps_per_epoch - done)
        return distribute(self._strategy, rest, config.batch_size)

    def _finish_epoch(self, bar: "tqdm[Any]") -> None:
        """Make the steps that are left of the current epoch, if any."""
        end = (self._epochs_reported + 1) * self._config.steps_per_epoch
        if self._step == end:  # stopped before it was reported
            return
        if self._step % self._config.steps_per_epoch == 0:
            self._state["epoch_sums"].assign(tf.zeros_like(self._state["epoch_sums"]))
        begin = time.monotonic()
        batches = self._batches()
        waited_s = time.monotonic() - begin  # making the pipeline counts
        self._count_time(waited_s, waited_s)
        n_steps = 1
        while self._step < end:
            self._stop_if_asked()
            # Workers must make the same number of steps: the chief's clock counts.
            n_steps = int(self._exchange([self._limit(n_steps, end)])[0, 0])
            self._telemetry.profile(self._step)
            took_s = self._make_steps(batches, n_steps)
            bar.update(n_steps)
            n_steps = max(int(_SECONDS_PER_HOST_CALL / took_s * n_steps), 1)

    def _limit(self, wanted: int, end: int) -> int:
        """How many of the wanted steps may be made before the host has something to do."""
        to_edge = self._telemetry.steps_to_profile_edge(self._step)
        left = end - self._step
        return min(wanted, _MOST_STEPS_PER_HOST_CALL, left, to_edge or left)

    def _make_steps(self, batches: Iterator[Any], n_steps: int) -> float:
        """Make `n_steps` steps in one host call, log their mean scalars, return the seconds."""
        begin = time.monotonic()
        try:
            scalars, waited = self._train_steps(
                batches, tf.constant(self._step, tf.int64), tf.constant(n_steps, tf.int64)
            )
        except tf.errors.OpError as error:
            raise self._corrupt.error or error from None
        values = {name: float(value) for name, value in scalars.items()}
        took_s, waited_s = time.monotonic() - begin, float(waited)
        self._state["step"].assign_add(n_steps)
        if not math.isfinite(values["loss"]):
            raise DivergedError(
                f"the loss is {values['loss']} at step {self._step}; choose another --job-dir and "
                f"a lower learning_rate than {self._config.learning_rate}"
            )
        means = [values[name] for name in self._summed]
        self._state["epoch_sums"].assign_add(tf.constant(means, tf.float64) * n_steps)
        self._count_time(took_s, waited_s)
        share = _false_opposite_share(values)
        values = {name: value for name, value in values.items() if name not in OPPOSITE_COUNTS}
        if share is not None:
            values["false_opposite_share"] = share
        values["tiles_per_s"] = 2 * self._config.batch_size * n_steps / took_s
        values["input_wait_share"] = waited_s / took_s
        self._telemetry.log(values, self._step)
        return took_s

    def _count_time(self, took_s: float, waited_s: float) -> None:
        self._state["seconds"].assign_add(took_s)
        self._state["input_wait_s"].assign_add(waited_s)

    def _stop_if_asked(self) -> None:
        """Save and stop on all workers, once one of them is asked to.

        Raises:
            Terminated: one was.
        """
        if not self._exchange([self._terminated()]).any():
            return
        self._checkpoints.save()
        self._telemetry.close()
        wait_for_all(self._exchange)  # none may leave while another saves
        raise Terminated(f"state saved at step {self._step} of {self._total_steps}")

    def _report_epoch(self) -> float | None:
        """Measure and report how good the embedding is after an epoch; return its recall."""
        epoch = self._step // self._config.steps_per_epoch
        embeddings = self._validation.embed()
        recall = self._validation.recall_at_1(embeddings)
        spread = self._validation.spread(embeddings)
        line = (
            f"epoch {epoch}/{self._config.epochs}  step {self._step}/{self._total_steps}  "
            f"loss {self._epoch_means['loss']:.4f}"
        )
        if recall is not None:
            self._state["recall_at_1"].assign(recall)
            spread["recall_at_1"] = recall
            line += f"  recall_at_1 {recall:.3f}"
        share = _false_opposite_share(self._epoch_means)
        if share is not None:
            line += f"  false_opposite_share {share:.3f}"
        self._telemetry.log(spread, self._step)
        self._telemetry.flush()  # here, not with every scalar: on gs:// it writes the file again
        self._log(logging.INFO, line)
        self._watch_for_collapse(spread)
        self._state["epochs_reported"].assign_add(1)
        return recall

    def _watch_for_collapse(self, spread: dict[str, float]) -> None:
        """Warn at signs of collapse, and stop the run when they stay.

        Raises:
            DivergedError: there was a sign after each of the last `PATIENCE` epochs.
        """
        config, collapsed = self._config, self._state["collapsed_epochs"]
        sign = sign_of_collapse(spread, self._epoch_means, config.margin)
        if not self._exchange([sign is not None])[0, 0]:  # the chief's rounding decides for all
            collapsed.assign(0)
            return
        if collapsed.assign_add(1) == 1:
            self._log(logging.WARNING, f"the embedding seems to collapse: {sign}")
        if collapsed >= PATIENCE:
            hard = config.loss == "triplet" and config.mining == "hard"
            raise DivergedError(
                f"the embedding has collapsed: {sign}, and such signs for {PATIENCE} epochs; "
                f"choose another --job-dir and a lower learning_rate than {config.learning_rate}"
                f"{' or mining=semi_hard' if hard else ''}"
            )

    def _finish(self) -> dict[str, Any]:
        """Export and write the metrics, which say that the run is done."""
        metrics = self._metrics()
        if self._cluster.is_chief:
            self._show_embeddings()
            self._telemetry.log_success()
            self._telemetry.close()
            export_encoder(self._encoder, self._features.info.feature_spec, self._job_dir)
            heard = recording_ids(self._features, self._config.train_partitions, self._corrupt)
            write_training_recordings(self._job_dir, heard)
            metrics_uri = storage.join(self._job_dir, METRICS)
            storage.write_text(metrics_uri, json.dumps(metrics, indent=2) + "\n")
        wait_for_all(self._exchange)  # for the chief, which has been writing
        return metrics

    def _show_embeddings(self) -> None:
        """Show the pool in TensorBoard, where it may be seen by label; training reads none."""
        from trainer.plots.embedding import (  # slow to import
            pictures_by_context,
            pictures_by_label,
            place,
        )

        pool, label_names = self._validation.pool, self._features.info.label_names
        embeddings = self._validation.embed()
        self._telemetry.log_embeddings(embeddings, pool, label_names)
        planes = place(embeddings, pool.contexts, self._config.seed)
        pictures = pictures_by_context(planes, pool.contexts)
        pictures |= pictures_by_label(planes, embeddings, pool.labels, label_names)
        self._telemetry.log_figures(pictures, self._step)

    @property
    def _epoch_means(self) -> dict[str, float]:
        """Mean scalars of the loss, and counts of opposites, over the last epoch."""
        means = self._state["epoch_sums"].numpy() / self._config.steps_per_epoch
        return dict(zip(self._summed, means.tolist(), strict=True))

    def _metrics(self) -> dict[str, Any]:
        seconds, recall = float(self._state["seconds"]), float(self._state["recall_at_1"])
        return {
            "steps": self._step,
            "epochs": self._config.epochs,
            "loss": self._epoch_means["loss"],
            "recall_at_1": recall if self._config.validation_partitions else None,
            "false_opposite_share": _false_opposite_share(self._epoch_means),
            "corrupt_records": self._corrupt.count,
            "parameters": self._encoder.count_params(),
            "devices": self._devices,
            "replicas": self._strategy.num_replicas_in_sync,
            "hosts": self._cluster.workers,
            "seconds": seconds,
            "tiles_per_s": 2 * self._config.batch_size * self._step / seconds,
            "input_wait_share": float(self._state["input_wait_s"]) / seconds,
            "peak_memory_mib": round(peak_memory_mib()),
            "peak_gpu_memory_mib": peak_gpu_memory_mib(),
        }

    def _progress_bar(self) -> "tqdm[Any]":
        hidden = None if self._cluster.is_chief else True  # None: where nobody watches
        return tqdm(total=self._total_steps, initial=self._step, unit="step", disable=hidden)

    def _log(self, level: int, line: str) -> None:
        if self._cluster.is_chief:
            _LOG.log(level, line)
