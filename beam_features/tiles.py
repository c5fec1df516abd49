"""From a context's recordings to strips of tiles: slicing and book-keeping, no IO of its own."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from beam_features.log_mel import log_mel
from beam_features.recording import Recording, RejectedRecording
from beam_features.schema.feature_spec import MAX_TILES_PER_STRIP, FeatureSpec
from beam_features.schema.strip import LOG_MEL_DTYPE, NO_LABEL, Strip

Float32 = npt.NDArray[np.float32]


def tiles_of(samples: Float32, spec: FeatureSpec) -> Float32:
    """Cut the log-mel frames of a recording into tiles.

    The last partial tile is dropped, unless it is the only one: then silence fills it up.

    Args:
        samples: mono ``[n_samples]`` at ``spec.sample_rate_hz``.
        spec: the feature settings.

    Returns:
        ``[n_tiles, tile_frames, n_mels]`` with ``n_tiles >= 1``.
    """
    shortest = spec.tile_frames * spec.hop_length
    if len(samples) < shortest:
        samples = np.pad(samples, (0, shortest - len(samples)))
    frames = log_mel(samples, spec)
    n_tiles = len(frames) // spec.tile_frames
    return frames[: n_tiles * spec.tile_frames].reshape(n_tiles, *spec.tile_shape)


def strips_of(
    recordings: Iterable[Recording],
    read_tiles: Callable[[Recording], Float32],
    reject: Callable[[Recording, RejectedRecording], None],
    label_ids: Mapping[str, int],
    spec: FeatureSpec,
) -> Iterator[Strip]:
    """Join the tiles of one context into strips.

    A strip ends where the timeline has a gap or after `MAX_TILES_PER_STRIP` tiles.

    Args:
        recordings: of one context, in the order of their `offset_s`.
        read_tiles: gives ``[n_tiles, tile_frames, n_mels]`` of a recording.
        reject: is told of each recording that `read_tiles` rejects; the others go on.
        label_ids: index of each label name.
        spec: the feature settings.
    """
    strip: _OpenStrip | None = None
    for recording in recordings:
        try:
            tiles = read_tiles(recording)
        except RejectedRecording as rejection:
            reject(recording, rejection)
            continue
        first = round(recording.offset_s / spec.tile_s)
        label = NO_LABEL if recording.label is None else label_ids[recording.label]
        for index, tile in enumerate(tiles):
            if strip is not None and not strip.takes(first + index):
                yield strip.close()
                strip = None
            strip = strip or _OpenStrip(recording, first + index)
            strip.append(tile, recording.recording_id, round(index * spec.tile_s * 1000), label)
    if strip is not None:
        yield strip.close()


@dataclass
class _OpenStrip:
    """A strip under construction."""

    recording: Recording  # the first one: context, session and sensor are the same for all
    first_tile: int
    tiles: list[Float32] = field(default_factory=list)
    recording_ids: list[str] = field(default_factory=list)
    start_ms: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)

    def takes(self, position: int) -> bool:
        """Whether the tile at `position` of the timeline comes next and there is room for it."""
        following = self.first_tile + len(self.tiles)
        return position == following and len(self.tiles) < MAX_TILES_PER_STRIP

    def append(self, tile: Float32, recording_id: str, start_ms: int, label: int) -> None:
        self.tiles.append(tile)
        self.recording_ids.append(recording_id)
        self.start_ms.append(start_ms)
        self.labels.append(label)

    def close(self) -> Strip:
        return Strip(
            context_id=self.recording.context_id,
            session_id=self.recording.session_id,
            sensor_id=self.recording.sensor_id,
            first_tile=self.first_tile,
            log_mel=np.stack(self.tiles).astype(LOG_MEL_DTYPE),
            recording_ids=tuple(self.recording_ids),
            start_ms=tuple(self.start_ms),
            labels=tuple(self.labels),
        )
