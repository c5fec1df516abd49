"""Settings of a training run: typed, validated, every key on the surface."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from dem.errors import InputError

Positive = Annotated[int, Field(gt=0)]
Augmentation = Literal["shift", "mix", "noise", "gain", "time_mask", "mel_mask"]

_CHANNEL_STEP = 8  # GPUs compute multiples of it fast in 16 bits


@dataclass(frozen=True)
class Architecture:
    """An encoder, and how much larger or smaller than usual it is.

    Attributes:
        name: key of `trainer.model.encoders.ENCODERS`.
        width: by what the numbers of channels or units are multiplied, rounded to multiples of 8.
        depth: number of convolutions (of recurrent or dense layers, where there are none); None:
            the usual one.
    """

    name: str
    width: float = 1.0
    depth: int | None = None

    def widen(self, channels: int) -> int:
        """Scale a number of channels or units."""
        return max(round(channels * self.width / _CHANNEL_STEP), 1) * _CHANNEL_STEP


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class TrainConfig:
    """What to train and how; configs/demo.yaml explains each key."""

    encoder: str = "conv2d"
    encoder_width: Annotated[float, Field(gt=0, le=16)] = 1.0
    encoder_depth: Annotated[int, Field(ge=1, le=8)] | None = None  # None: the encoder's own
    embedding_size: Positive | None = 256  # None: the embedding is what the encoder pools
    projection_hidden: Positive | None = None  # None: no layer between embedding and projection
    projection_size: Positive | None = 128  # None: the loss sees the embedding itself
    loss: Literal["triplet", "infonce"] = "triplet"
    mining: Literal["random", "all", "semi_hard", "hard"] = "semi_hard"  # triplet
    reducer: Literal["mean", "active_mean"] = "active_mean"  # triplet
    margin: Annotated[float, Field(gt=0, le=4)] = 0.2  # triplet
    similarity: Literal["cosine", "bilinear"] = "cosine"  # infonce
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.1  # infonce, cosine
    batch_size: Annotated[int, Field(ge=2)] = 128
    epochs: Positive = 10
    steps_per_epoch: Positive | None = None  # None: every training tile is an anchor once
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-3
    learning_rate_decay: Literal["none", "cosine"] = "none"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-4
    clip_norm: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None  # None: unclipped
    positives: Annotated[tuple[Literal["time", "sensor"], ...], Field(min_length=1)] = ("time",)
    neighbourhood_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 5.0
    augment: tuple[Augmentation, ...] = ("gain", "time_mask", "mel_mask")
    corrupt_records_budget: Annotated[int, Field(ge=0)] = 10
    replicas: Positive | None = None  # over all hosts; None: every GPU, or one CPU per host
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    jit_compile: bool = False
    profile_steps: tuple[Positive, Positive] | None = None  # first and last; 1 is the first of all
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    train_partitions: tuple[str, ...] | None = None  # None: from dataset_info.json
    validation_partitions: tuple[str, ...] | None = None
    test_partitions: tuple[str, ...] | None = None
    label_use: Literal["none"] = "none"
    fingerprint: str | None = None  # of the features that the settings are for; None: of any
    content_sha256: str | None = None  # of what these features hold; None: of anything

    def __post_init__(self) -> None:
        """Refuse a tile set that is trained on and measured on, and what does not fit together."""
        if self.projection_hidden and not self.projection_size:
            raise InputError(
                f"projection_hidden={self.projection_hidden} without a projection; give a "
                "projection_size, too, or projection_hidden=null"
            )
        if self.profile_steps and self.profile_steps[0] > self.profile_steps[1]:
            raise InputError(
                f"profile_steps={list(self.profile_steps)} ends before it begins; give the first "
                "step, then the last"
            )
        _require_one_role(self)

    @property
    def architecture(self) -> Architecture:
        """What encoder to build."""
        return Architecture(self.encoder, self.encoder_width, self.encoder_depth)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ResolvedConfig(TrainConfig):
    """Settings in which the data have decided what was left open; `JOB/config.yaml` holds them."""

    steps_per_epoch: Positive = 1
    train_partitions: tuple[str, ...] = ()
    validation_partitions: tuple[str, ...] = ()
    test_partitions: tuple[str, ...] = ()
    fingerprint: str = ""
    content_sha256: str = ""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ClassifyConfig:
    """How classifiers are fitted and what they are measured on."""

    strengths: tuple[Annotated[float, Field(gt=0)], ...] = (1.0, 0.1, 0.01, 0.001)  # logistic
    dropouts: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = (0.0, 0.25, 0.5)  # dense
    recording_from: Literal["posteriors", "vectors"] = "posteriors"
    train_partitions: tuple[str, ...] | None = None  # None: those of the training run
    validation_partitions: tuple[str, ...] | None = None
    test_partitions: tuple[str, ...] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0  # of the bootstrap and of the head dense

    def __post_init__(self) -> None:
        """Refuse an empty choice, and a tile set that is fitted to and measured on."""
        if not self.strengths:
            raise InputError(
                "strengths is empty; give at least one inverse regularisation strength"
            )
        if not self.dropouts:
            raise InputError("dropouts is empty; give at least one share of units to drop")
        _require_one_role(self)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ResolvedClassifyConfig(ClassifyConfig):
    """Settings in which the training run has decided what was left open."""

    train_partitions: tuple[str, ...] = ()
    validation_partitions: tuple[str, ...] = ()
    test_partitions: tuple[str, ...] = ()


def _require_one_role(config: TrainConfig | ClassifyConfig) -> None:
    """Raise an InputError where a partition stands in two lists, or in one twice."""
    roles = {
        "train_partitions": config.train_partitions or (),
        "validation_partitions": config.validation_partitions or (),
        "test_partitions": config.test_partitions or (),
    }
    names = [name for partitions in roles.values() for name in partitions]
    shared = sorted({name for name in names if names.count(name) > 1})
    if shared:
        raise InputError(
            f"partition {shared[0]!r} stands twice among {', '.join(roles)}; name it once"
        )
