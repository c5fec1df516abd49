"""Seconds from the middle of songs, to be put into a page."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tqdm import tqdm

from beam_features.schema.audio.files import RejectedRecording
from similarity.index.descriptors import RATE_HZ, read_middle
from similarity.index.songs import Song
from similarity.map.page import embedded_sound

_LOG = logging.getLogger(__name__)
_THREADS = 4


def read_snippets(songs: Sequence[Song], seconds: float) -> list[str | None]:
    """A data URI per song with so many seconds from its middle; None where it cannot be read."""

    def read(song: Song) -> str | None:
        try:
            return embedded_sound(read_middle(song.uri, song.seconds, seconds), RATE_HZ)
        except (RejectedRecording, OSError) as error:
            _LOG.warning(f"no sound of {song.uri}: {error}")
            return None

    with ThreadPoolExecutor(_THREADS) as threads:
        return list(tqdm(threads.map(read, songs), "sounds", len(songs), unit="song", disable=None))
