"""How long a file says that it is, by its own bytes and before any decoder reads it."""

from typing import BinaryIO

from beam_features.schema.audio import chunks, headers, ogg
from beam_features.schema.audio.extent import Extent, check
from beam_features.schema.audio.files import RejectedRecording


def find_extent(file: BinaryIO) -> Extent | None:
    """Find the bytes of audio in a file whose format says where they are.

    Raises:
        RejectedRecording: the file lacks its end, or goes on behind it.
    """
    extent = chunks.find_audio(file) or headers.find_audio(file)
    if extent is not None:
        check(extent)
    return extent


def seconds(file: BinaryIO, extent: Extent | None) -> float | None:
    """Say how long the audio is at least; None if the bytes do not tell.

    Raises:
        RejectedRecording: the last Ogg page is missing.
    """
    if extent is not None:
        frames = extent.frames
        return frames / extent.rate_hz if frames is not None and extent.rate_hz else None
    links = ogg.streams(ogg.pages(file)) if ogg.is_ogg(file) else []
    if links and not links[-1].is_complete:
        detail = "the last Ogg page is not the end of the stream"
        raise RejectedRecording("decode", "truncated", detail)
    return sum(link.seconds for link in links) if links else None
