"""Settings of training and classifier. The docstring below a key is its documentation.

``--help-settings`` and docs/settings.md are generated from it.
"""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from dem.errors import InputError
from trainer.choices import AUGMENTATIONS, ENCODERS, LOSSES, MININGS, SIMILARITIES

Positive = Annotated[int, Field(gt=0)]
PositiveNumber = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
SETTINGS = ConfigDict(extra="forbid", use_attribute_docstrings=True)

_CHANNEL_STEP = 8  # GPUs compute multiples of it fast in 16 bits


@dataclass(frozen=True)
class Architecture:
    """An encoder, and how much larger or smaller than usual it is.

    Attributes:
        name: of `trainer.choices.ENCODERS`, or ``module:function``.
        width: factor of the numbers of channels or units, which are rounded to multiples of 8.
        depth: number of convolutions (of recurrent or dense layers, where there are none); None:
            the default of the encoder.
        centring: whether each mel bin less its mean over the tile is a further input.
    """

    name: str
    width: float = 1.0
    depth: int | None = None
    centring: bool = False

    def widen(self, channels: int) -> int:
        """Scale a number of channels or units."""
        return max(round(channels * self.width / _CHANNEL_STEP), 1) * _CHANNEL_STEP


@dataclass(frozen=True, config=SETTINGS)
class TrainConfig:
    """What to train and how."""

    encoder: Annotated[str, ENCODERS] = "conv2d"
    """The network from a tile to its embedding; docs/encoders.md compares them."""
    encoder_width: Annotated[float, Field(gt=0, le=16)] = 1.0
    """Factor of the number of channels or units."""
    encoder_depth: Annotated[int, Field(ge=1, le=8)] | None = None
    """Number of layers of `dense`, `conv1d` and `gru`, of convolutions of `conv2d`, `conv_gru` and
    `conv_dense`; null: the default of the encoder."""
    encoder_centring: bool = False
    """True: the encoder also gets each mel bin less its mean over the tile, which is the same
    through any microphone; for recordings of unlike microphones, not for music."""
    embedding_size: Positive | None = 256
    """Length of the exported embedding; null: what the encoder pools is the embedding."""
    projection_hidden: Positive | None = None
    """Length of a layer between embedding and projection; null: no such layer."""
    projection_size: Positive | None = 128
    """Length of the projection, on which the loss is computed; null: on the embedding itself."""
    loss: Annotated[str, LOSSES] = "triplet"
    """`triplet`: make neighbours closer than opposites by the margin; `infonce`: find the neighbour
    among all tiles of other sessions; `vicreg`: neighbours alike, dimensions spread and
    uncorrelated; `byol`: predict what a moving average of the network makes of the neighbour. The
    last two have no opposites."""
    mining: Annotated[str, MININGS] = "semi_hard"
    """Opposites of `triplet`: a `random` one, `all`, the nearest that is farther than the neighbour
    (`semi_hard`), or the nearest (`hard`: the embedding collapses more easily)."""
    reducer: Literal["mean", "active_mean"] = "active_mean"
    """Of `triplet`: mean over all triplets, or over those with a positive loss (`active_mean`)."""
    margin: Annotated[float, Field(gt=0, le=4)] = 0.2
    """Of `triplet`: how much farther than the neighbour an opposite must be, in squared distances
    between unit vectors, 0 to 4."""
    similarity: Annotated[str, SIMILARITIES] = "cosine"
    """Of `infonce`: cosine, or the bilinear form of COLA with a learned matrix."""
    temperature: PositiveNumber = 0.1
    """Of `infonce` with `cosine`: a lower one gives the most similar opposites more weight."""
    invariance_weight: PositiveNumber = 25.0
    """Of `vicreg`: of the squared distance between neighbours."""
    variance_weight: PositiveNumber = 25.0
    """Of `vicreg`: of how far each dimension's standard deviation is below 1."""
    covariance_weight: PositiveNumber = 1.0
    """Of `vicreg`: of the squared covariances between dimensions."""
    target_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Of `byol`: how much of the moving average each step keeps at first; it rises to 1 along half
    a cosine. 0.99 averages over about 100 steps."""
    batch_size: Annotated[int, Field(ge=2)] | None = None
    """Anchors in the global batch, over all replicas; null: 128, or the highest power of two that
    the training tiles fill."""
    epochs: Positive = 10
    """After each: recall_at_1 on the validation partitions, a checkpoint and a log line."""
    steps_per_epoch: Positive | None = None
    """Null: as many as it takes to use each training tile as an anchor once."""
    learning_rate: PositiveNumber = 1e-3
    """Of AdamW; the highest that the schedule reaches."""
    learning_rate_decay: Literal["none", "cosine"] = "none"
    """`cosine`: down to 0 at the last step."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which the learning rate rises linearly at the start."""
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-4
    """Of AdamW; biases and normalisation layers do not decay."""
    clip_norm: PositiveNumber | None = None
    """Maximum norm of the gradient over all weights; null: no clipping."""
    positives: Annotated[tuple[Literal["time", "sensor"], ...], Field(min_length=1)] = ("time",)
    """What a neighbour is. `time`: a tile near in time; `sensor`: the same instant from another
    sensor of the session; both: each for half of the anchors."""
    neighbourhood_s: PositiveNumber = 5.0
    """Maximum time in seconds between the starts of an anchor and its neighbour."""
    augment: tuple[Annotated[str, AUGMENTATIONS], ...] = ("gain", "time_mask", "mel_mask")
    """Random changes of the training tiles: mix with a quieter tile of another session, shift in
    time and mel, noise, level, frequency response (`equaliser`), masks in time and mel; []:
    none."""
    corrupt_records_budget: Annotated[int, Field(ge=0)] = 10
    """How many corrupt records are skipped; one more ends the run."""
    checkpoint_every_s: PositiveNumber = 600.0
    """Seconds between checkpoints within an epoch; there is also one at its end."""
    replicas: Positive | None = None
    """Null: every GPU of every host, or one CPU per host. On one host without GPUs, 2 makes two
    logical replicas."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Of the encoder: the mixed ones are faster on GPUs. Weights, normalisation, distances and loss
    stay in float32."""
    jit_compile: bool = False
    """True: compile the forward pass of the encoder with XLA; on one replica only."""
    profile_steps: tuple[Positive, Positive] | None = None
    """First and last step to profile, for TensorBoard in JOB/logs, such as [10, 15]; the first step
    of a run is 1."""
    seed: Seed = 0
    """Of weights, order, pairs, augmentation and mining."""
    train_partitions: tuple[str, ...] | None = None
    """Null: `train`; of a dataset with n folds, the first n-2."""
    validation_partitions: tuple[str, ...] | None = None
    """Null: `validation`; of a dataset with n folds, the last but one."""
    test_partitions: tuple[str, ...] | None = None
    """Null: `test`; of a dataset with n folds, the last."""
    retrieval_gap_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10.0
    """Of recall_at_1 and other measures of retrieval by context: a tile does not count as found if
    it starts less than this many seconds from the query in the same context; in a short context,
    less than half of the time between its first and its last tile."""
    label_use: Literal["none"] = "none"
    """Training never reads labels."""
    init: str | None = None
    """A training whose encoder this one starts from, weights only: its job directory, if it is
    finished, or its `encoder.keras`; null: random weights."""
    init_sha256: str | None = None
    """Sha256 that the `encoder.keras` of `init` must have; null: any."""
    fingerprint: str | None = None
    """Sha256 of the feature settings that --data must have been made with; null: any."""
    content_sha256: str | None = None
    """Sha256 of the content that --data must have; null: any."""

    def __post_init__(self) -> None:
        """Refuse settings that exclude each other."""
        if self.projection_hidden and not self.projection_size:
            raise InputError(
                f"projection_hidden={self.projection_hidden} without a projection; set "
                "projection_size, too, or projection_hidden=null"
            )
        if self.profile_steps and self.profile_steps[0] > self.profile_steps[1]:
            raise InputError(
                f"profile_steps={list(self.profile_steps)} ends before it begins; give the first "
                "step, then the last"
            )
        if self.init_sha256 and not self.init:
            raise InputError("init_sha256 without init; set init, too, or init_sha256=null")
        _require_one_role(self)

    @property
    def architecture(self) -> Architecture:
        """The encoder to build."""
        return Architecture(
            self.encoder, self.encoder_width, self.encoder_depth, self.encoder_centring
        )


@dataclass(frozen=True, config=SETTINGS)
class ResolvedConfig(TrainConfig):
    """Settings with values from the data instead of null; they are in `JOB/config.yaml`."""

    batch_size: Annotated[int, Field(ge=2)] = 128
    steps_per_epoch: Positive = 1
    train_partitions: tuple[str, ...] = ()
    validation_partitions: tuple[str, ...] = ()
    test_partitions: tuple[str, ...] = ()
    fingerprint: str = ""
    content_sha256: str = ""


@dataclass(frozen=True, config=SETTINGS)
class ClassifyConfig:
    """How classifiers are fitted, and what they are tested on."""

    strengths: tuple[Annotated[float, Field(gt=0)], ...] = (1.0, 0.1, 0.01, 0.001)
    """Of the head `logistic`: inverse regularisation strengths; the lowest log loss on held-out
    rows chooses one."""
    dropouts: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = (0.0, 0.25, 0.5)
    """Of the head `dense`: shares of units to drop; the lowest log loss on held-out rows
    chooses one."""
    recording_from: Literal["posteriors", "vectors"] = "posteriors"
    """How a recording is labelled: from the mean of the posteriors of its audible tiles, or by a
    classifier of its own on the mean, the maximum and the deviation of their vectors."""
    overlap: Annotated[int, Field(ge=1, le=16)] = 4
    """How many grids of tiles a recording is labelled from, each shifted by the same part of a
    tile; 1: only tiles side by side. The tiles of all grids are embedded."""
    train_partitions: tuple[str, ...] | None = None
    """Null: those of the training."""
    validation_partitions: tuple[str, ...] | None = None
    """Null: those of the training."""
    test_partitions: tuple[str, ...] | None = None
    """Null: those of the training."""
    seed: Seed = 0
    """Of the bootstrap and of the head `dense`."""

    def __post_init__(self) -> None:
        """Refuse settings that exclude each other."""
        if not self.strengths:
            raise InputError(
                "strengths is empty; give at least one inverse regularisation strength"
            )
        if not self.dropouts:
            raise InputError("dropouts is empty; give at least one share of units to drop")
        _require_one_role(self)


@dataclass(frozen=True, config=SETTINGS)
class ResolvedClassifyConfig(ClassifyConfig):
    """Settings with values from the training instead of null."""

    train_partitions: tuple[str, ...] = ()
    validation_partitions: tuple[str, ...] = ()
    test_partitions: tuple[str, ...] = ()


def _require_one_role(config: TrainConfig | ClassifyConfig) -> None:
    """Raise an InputError if a partition is listed twice, such as for training and test."""
    roles = {
        "train_partitions": config.train_partitions or (),
        "validation_partitions": config.validation_partitions or (),
        "test_partitions": config.test_partitions or (),
    }
    names = [name for partitions in roles.values() for name in partitions]
    shared = sorted({name for name in names if names.count(name) > 1})
    if shared:
        raise InputError(
            f"partition {shared[0]!r} is listed twice among {', '.join(roles)}; list it once"
        )
