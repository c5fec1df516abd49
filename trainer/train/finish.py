"""The end of a run: the exported encoder, pictures for TensorBoard, and the metrics."""

import json
import math
from typing import Any

from dem import storage
from trainer.model.export import export_encoder
from trainer.runtime.job_dir import INITIAL_RECORDINGS, METRICS, VECTORS
from trainer.runtime.memory import peak_gpu_memory_mib, peak_memory_mib
from trainer.runtime.training_recordings import (
    read_training_recordings,
    write_training_recordings,
)
from trainer.train.cluster import wait_for_all
from trainer.train.devices import device_names
from trainer.train.epoch import false_opposite_share
from trainer.train.state import Run
from trainer.train.telemetry import log_success, write_embeddings
from trainer.train.validation import Validation


def finish(run: Run, validation: Validation, job_dir: str) -> dict[str, Any]:
    """Export the encoder and write the metrics, which mark the job as finished."""
    metrics = _metrics(run)
    if run.workers.is_chief:
        _log_embeddings(run, validation)
        log_success(run.events)
        run.events.flush()
        storage.delete_tree(storage.join(job_dir, VECTORS, "trained"))  # by a shorter training
        export_encoder(run.learner.encoder, run.features.info.feature_spec, job_dir)
        _write_training_recordings(run, job_dir)
        metrics_uri = storage.join(job_dir, METRICS)
        storage.write_text(metrics_uri, json.dumps(metrics, indent=2) + "\n")
    wait_for_all(run.workers.exchange)  # for the chief, which writes
    return metrics


def _write_training_recordings(run: Run, job_dir: str) -> None:
    """Write what the encoder was trained on; nothing where that is not known of its beginning."""
    trained_on = sorted(run.corpus.store.index.recordings.names)
    if run.config.init:
        before = read_training_recordings(storage.join(job_dir, INITIAL_RECORDINGS))
        if before is None:
            return
        trained_on = sorted({*trained_on, *before})
    write_training_recordings(job_dir, trained_on)


def _log_embeddings(run: Run, validation: Validation) -> None:
    """Show the validation pool in TensorBoard, also by label; training uses no labels."""
    from trainer.plots.embedding import (  # slow to import
        pictures_by_context,
        pictures_by_label,
        place,
    )

    pool, label_names = validation.pool, run.features.info.label_names
    embeddings = validation.embed()
    write_embeddings(run.events.directory, embeddings, pool, label_names)
    planes = place(embeddings, pool.contexts, run.config.seed)
    pictures = pictures_by_context(planes, pool.contexts)
    pictures |= pictures_by_label(planes, embeddings, pool.labels, label_names)
    run.events.log_figures(pictures, run.progress.step)


def _metrics(run: Run) -> dict[str, Any]:
    config, progress = run.config, run.progress
    return {
        "steps": progress.step,
        "epochs": config.epochs,
        "init": config.init,
        "init_sha256": config.init_sha256,
        "loss": progress.epoch_means["loss"],
        "recall_at_1": None if math.isnan(progress["recall_at_1"]) else progress["recall_at_1"],
        "false_opposite_share": false_opposite_share(progress.epoch_means),
        "corrupt_records": run.corpus.corrupt.count,
        "parameters": run.learner.encoder.count_params(),
        "devices": device_names(run.workers.strategy),
        "replicas": run.workers.strategy.num_replicas_in_sync,
        "hosts": run.workers.cluster.workers,
        "seconds": progress["seconds"],
        "tiles_per_s": 2 * config.batch_size * progress.step / progress["seconds"],
        "input_wait_share": progress["input_wait_s"] / progress["seconds"],
        "peak_memory_mib": round(peak_memory_mib()),
        "peak_gpu_memory_mib": peak_gpu_memory_mib(),
    }
