"""Settings of log-mel tiles, which features and model must agree on.

The docstring below a key is its documentation.
"""

import dataclasses
import hashlib
import json
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from dem.errors import InputError

MAX_TILES_PER_STRIP = 64
FEATURE_SPEC = "feature_spec.json"  # in an exported model


@dataclass(
    frozen=True,
    config=ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True),
)
class FeatureSpec:
    """Log-mel settings; derived values are properties."""

    sample_rate_hz: Annotated[int, Field(gt=0)] = 16_000
    """Audio is resampled to this rate."""
    channels: Literal["mean", "first", "all"] = "mean"
    """Of audio with several channels: their mean, the first, or each as a sensor of its own
    (`all`)."""
    window_s: Annotated[float, Field(gt=0)] = 0.025
    """Length of the window of a frame, in seconds."""
    hop_s: Annotated[float, Field(gt=0)] = 0.010
    """Time between two frames, in seconds."""
    fft_length: Annotated[int, Field(gt=0)] = 512
    """Samples of the Fourier transform; at least those of the window."""
    n_mels: Annotated[int, Field(gt=0)] = 64
    """Number of mel bins."""
    fmin_hz: Annotated[float, Field(ge=0)] = 50.0
    """Lower end of the mel range."""
    fmax_hz: float | None = None
    """Upper end of the mel range; null: half the sample rate."""
    log_offset: Annotated[float, Field(gt=0)] = 1e-6
    """Added to the power before the logarithm."""
    tile_s: Annotated[float, Field(gt=0)] = 1.0
    """Length of a tile, which the encoder takes, in seconds."""

    def __post_init__(self) -> None:
        """Refuse values that make tiles or time stamps inexact."""
        for name, value in (("hop_s", self.hop_s), ("window_s", self.window_s)):
            samples = value * self.sample_rate_hz
            if abs(samples - round(samples)) > 1e-6 or round(samples) < 1:
                raise InputError(
                    f"{name}={value} at {self.sample_rate_hz} Hz is {samples:g} samples; "
                    "choose a whole number of them"
                )
        hops = self.tile_s / self.hop_s
        if abs(hops - round(hops)) > 1e-6 or round(hops) < 1:
            raise InputError(
                f"tile_s={self.tile_s} is {hops:g} hops of {self.hop_s} s; "
                "choose a whole number of them"
            )
        if self.fft_length < self.window_length:
            raise InputError(
                f"fft_length={self.fft_length} is shorter than the window of "
                f"{self.window_length} samples; raise fft_length or lower window_s"
            )
        if not self.fmin_hz < self.upper_hz <= self.sample_rate_hz / 2:
            raise InputError(
                f"mel range {self.fmin_hz} to {self.upper_hz} Hz must rise and end at or below "
                f"Nyquist, {self.sample_rate_hz / 2} Hz; change fmin_hz or fmax_hz"
            )
        if not 1e-37 <= self.log_offset <= 1e37:
            raise InputError(
                f"log_offset={self.log_offset:g} is zero or infinite in the float32 of log-mel; "
                "choose 1e-37 to 1e37"
            )

    @property
    def window_length(self) -> int:
        """Samples in a window."""
        return round(self.window_s * self.sample_rate_hz)

    @property
    def hop_length(self) -> int:
        """Samples between two frames."""
        return round(self.hop_s * self.sample_rate_hz)

    @property
    def tile_frames(self) -> int:
        """Frames in a tile."""
        return round(self.tile_s / self.hop_s)

    @property
    def upper_hz(self) -> float:
        """Upper end of the mel range in Hz."""
        return self.sample_rate_hz / 2 if self.fmax_hz is None else self.fmax_hz

    @property
    def tile_shape(self) -> tuple[int, int]:
        """Shape of a tile: ``(tile_frames, n_mels)``."""
        return self.tile_frames, self.n_mels

    @property
    def fingerprint(self) -> str:
        """Sha256 of the canonical JSON: equal if and only if the settings are."""
        canonical = json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def dump_feature_spec(spec: FeatureSpec) -> str:
    """Serialise the spec and its fingerprint to indented JSON."""
    values = {"fingerprint": spec.fingerprint, "feature_spec": dataclasses.asdict(spec)}
    return json.dumps(values, indent=2) + "\n"


def parse_feature_spec(text: str, origin: str) -> FeatureSpec:
    """Parse what `dump_feature_spec` returned.

    Raises:
        InputError: `origin` holds no spec, or its fingerprint does not match (it was edited).
    """
    try:
        values = json.loads(text)
        spec = TypeAdapter(FeatureSpec).validate_python(values["feature_spec"])
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise InputError(
            f"{origin} is not the {FEATURE_SPEC} of an exported model; export the model again"
        ) from error
    if values.get("fingerprint") != spec.fingerprint:
        raise InputError(
            f"{origin}: fingerprint {str(values.get('fingerprint'))[:12]} does not match its "
            f"feature_spec, {spec.fingerprint[:12]}; export the model again"
        )
    return spec
