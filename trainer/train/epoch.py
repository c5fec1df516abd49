"""The report after an epoch: how good the embedding is, and whether it collapses."""

import logging
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from dem.errors import DivergedError
from trainer.metrics.collapse import PATIENCE, sign_of_collapse
from trainer.model.losses import OPPOSITE_COUNTS
from trainer.train.state import Run, diverged
from trainer.train.validation import Validation


def report_epoch(run: Run, validation: Validation) -> float | None:
    """Measure, log and report an epoch; return its `recall_at_1`, if it is measured.

    Raises:
        DivergedError: the embedding has collapsed, or is not finite.
    """
    progress, config = run.progress, run.config
    embeddings = validation.embed()
    _require_finite(run, embeddings)
    recall = validation.recall_at_1(embeddings)
    measures = validation.spread(embeddings)
    _require_finite(run, list(measures.values()))
    line = (
        f"epoch {progress.epochs_reported + 1}/{config.epochs}  "
        f"step {progress.step}/{run.total_steps}  loss {progress.epoch_means['loss']:.4f}"
    )
    if recall is not None:
        progress.variables["recall_at_1"].assign(recall)
        measures["recall_at_1"] = recall
        line += f"  recall_at_1 {recall:.3f}"
    share = false_opposite_share(progress.epoch_means)
    if share is not None:
        line += f"  false_opposite_share {share:.3f}"
    run.events.log(measures, progress.step)
    run.events.flush()  # not after each step: object storage rewrites the whole file
    run.workers.log(line)
    _check_collapse(run, measures)
    return recall


def _require_finite(run: Run, values: npt.ArrayLike) -> None:
    """Refuse values that finite weights overflow in.

    Raises:
        DivergedError: one is NaN or infinite.
    """
    if run.workers.exchange([not np.isfinite(values).all()]).any():
        what = "embeddings or projections of tiles are nan or inf"
        raise diverged(what, run.progress.step, run.config)


def _check_collapse(run: Run, spread: Mapping[str, float]) -> None:
    """Warn of a sign of collapse, and stop the run if there is one for several epochs.

    Raises:
        DivergedError: there was a sign after each of the last `PATIENCE` epochs.
    """
    config, collapsed = run.config, run.progress.variables["collapsed_epochs"]
    sign = sign_of_collapse(spread, run.progress.epoch_means, config.margin)
    if not run.workers.exchange([sign is not None])[0, 0]:  # rounding differs: the chief decides
        collapsed.assign(0)
        return
    if collapsed.assign_add(1) == 1:
        run.workers.log(f"the embedding seems to collapse: {sign}", logging.WARNING)
    if collapsed >= PATIENCE:
        hard = config.loss == "triplet" and config.mining == "hard"
        raise DivergedError(
            f"the embedding has collapsed: {sign}, and such signs for {PATIENCE} epochs; "
            f"choose another --job-dir and a lower learning_rate than {config.learning_rate}"
            f"{' or mining=semi_hard' if hard else ''}"
        )


def false_opposite_share(scalars: Mapping[str, float]) -> float | None:
    """Share of the labelled opposites with the anchor's label; None without any."""
    false, labelled = (scalars.get(name, 0.0) for name in OPPOSITE_COUNTS)
    return false / labelled if labelled else None
