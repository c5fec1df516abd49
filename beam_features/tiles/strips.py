"""From a context's recordings to strips of tiles: bookkeeping, no IO of its own."""

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from beam_features.recording import Recording
from beam_features.schema.audio.files import Float32, RejectedRecording
from beam_features.schema.feature_spec import MAX_TILES_PER_STRIP, FeatureSpec
from beam_features.schema.strip import LOG_MEL_DTYPE, NO_LABEL, Strip, channel_context


def strips_of(
    recordings: Iterable[Recording],
    read_tiles: Callable[[Recording], Iterable[Float32]],
    reject: Callable[[Recording, RejectedRecording], None],
    label_ids: Mapping[str, int],
    spec: FeatureSpec,
) -> Iterator[Strip]:
    """Join the tiles of one context into strips, each channel separately.

    A strip ends at a gap in the timeline and at each multiple of `MAX_TILES_PER_STRIP`, so that the
    strips of several sensors cover the same spans of time.

    Args:
        recordings: of one context, in the order of their `offset_s`.
        read_tiles: yields blocks ``[n_channels, n_tiles, tile_frames, n_mels]`` of a recording; it
            rejects a recording before the first block or never.
        reject: called with each recording that `read_tiles` rejects; the others are still used.
        label_ids: index of each label name.
        spec: the feature settings.
    """
    strips: dict[int, _OpenStrip] = {}  # by channel
    for recording in recordings:
        label = NO_LABEL if recording.label is None else label_ids[recording.label]
        first, index = round(recording.offset_s / spec.tile_s), 0
        try:
            for block in read_tiles(recording):
                for tiles in block.swapaxes(0, 1):  # [n_channels, tile_frames, n_mels]
                    start_ms = round(index * spec.tile_s * 1000)
                    for channel, tile in enumerate(tiles):
                        if channel in strips and not strips[channel].takes(first + index):
                            yield strips.pop(channel).close()
                        if channel not in strips:
                            source = _recording_of(channel, recording, spec)
                            strips[channel] = _OpenStrip(source, first + index)
                        strips[channel].append(tile, recording.recording_id, start_ms, label)
                    index += 1
        except RejectedRecording as rejection:
            reject(recording, rejection)
    for channel in sorted(strips):
        yield strips[channel].close()


def strips_of_contexts(
    contexts: Iterable[Sequence[Recording]],
    strips_of_one: Callable[[Sequence[Recording]], Iterable[Strip]],
) -> Iterator[Strip]:
    """Make the strips of all contexts; within a session, merge those of its sensors by time.

    So a reader that holds a few strips has the same instant at all sensors. Contexts of one sensor
    follow each other: one context per sensor is open at a time.

    Args:
        contexts: those of a session are adjacent.
        strips_of_one: yields the strips of a context.
    """
    for _, session in itertools.groupby(contexts, key=lambda context: context[0].session_id):
        sensors: dict[str, list[Sequence[Recording]]] = {}
        for context in session:
            sensors.setdefault(context[0].sensor_id, []).append(context)
        streams = [itertools.chain.from_iterable(map(strips_of_one, c)) for c in sensors.values()]
        yield from heapq.merge(*streams, key=lambda strip: strip.first_tile)


def _recording_of(channel: int, recording: Recording, spec: FeatureSpec) -> Recording:
    """With ``channels: all``, make a channel a sensor with a timeline of its own."""
    if spec.channels != "all":
        return recording
    name = f"channel{channel}"
    return replace(
        recording,
        context_id=channel_context(recording.context_id, channel),
        sensor_id=f"{recording.sensor_id}#{name}" if recording.sensor_id else name,
    )


@dataclass
class _OpenStrip:
    """A strip under construction."""

    recording: Recording  # the first one; all have the same context, session and sensor
    first_tile: int
    tiles: list[Float32] = field(default_factory=list)
    recording_ids: list[str] = field(default_factory=list)
    start_ms: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)

    def takes(self, position: int) -> bool:
        """Whether the tile at `position` of the timeline is the next one of this strip."""
        following = self.first_tile + len(self.tiles)
        return position == following and position % MAX_TILES_PER_STRIP != 0

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
