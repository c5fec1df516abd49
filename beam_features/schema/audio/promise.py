"""What the bytes of a file say of its audio, before any decoder reads it.

Decoders end without an error where a file is cut, where a page is corrupt, or where a second
recording begins. What they return is compared with this.
"""

from dataclasses import dataclass
from typing import BinaryIO

from beam_features.schema.audio import blocks, boxes, chunks, flac, headers, ogg, tracks
from beam_features.schema.audio.extent import Extent, check, mended, part
from beam_features.schema.audio.files import BrokenFile, RejectedRecording
from beam_features.schema.audio.tags import end_of_audio, start_of_audio


@dataclass(frozen=True)
class Promise:
    """How long the audio is at least, where its bytes are, and of how many parts it is."""

    seconds: float = 0.0
    extent: Extent | None = None
    parts: int = 1  # blocks or streams that follow one another
    begins_late: bool = False  # its first position is behind the frames that are there


def read_promise(file: BinaryIO) -> Promise:
    """Read what a file says. Memory does not grow with it; of most formats only headers are read.

    Raises:
        BrokenFile: the file lacks its end, goes on behind it, or is corrupt, whichever
            decoder reads it.
    """
    extent = chunks.find_audio(file) or headers.find_audio(file) or blocks.find_audio(file)
    if extent is not None:
        check(extent)
        return Promise(extent.seconds, extent, extent.parts)
    if ogg.is_ogg(file):
        return _of_ogg(file)
    if info := flac.stream_info(file):
        return Promise(info.n_frames / info.rate_hz if info.rate_hz else 0.0)
    return Promise(tracks.seconds(file) if boxes.check(file) == "MPEG-4" else 0.0)


def _of_ogg(file: BinaryIO) -> Promise:
    links = ogg.streams(ogg.pages(file))
    if links and not links[-1].is_complete:
        raise BrokenFile("truncated", "the last Ogg page is not the end of the stream")
    return Promise(
        sum(link.seconds for link in links),
        parts=max(1, len(links)),
        begins_late=any(link.begins_late for link in links),
    )


def behind_tags(file: BinaryIO) -> BinaryIO:
    """Give the file without the ID3v2 tags at its beginning.

    libsndfile skips them, and leaves out as many bytes at the end of a WAV, AIFF or CAF.
    """
    start, n_bytes = start_of_audio(file), file.seek(0, 2)
    return part(file, start if start < n_bytes else 0, n_bytes)


def view_of_audio(file: BinaryIO, promise: Promise) -> BinaryIO:
    """Give the file to decoders with its size mended, and without the tags that follow the audio.

    Decoders take tags for audio, or complain about them.
    """
    extent = promise.extent
    if extent is None:
        return part(file, 0, end_of_audio(file))
    if extent.is_mended or extent.stop is None:
        return mended(file, extent)
    return part(file, 0, extent.stop)


def check_length(seconds: float, n_frames: int, rate_hz: int, decoder: str, delay: int = 1) -> None:
    """Reject a recording of which a decoder returned less than the file says.

    Args:
        seconds: that the file says.
        n_frames: that the decoder returned.
        rate_hz: of the frames.
        decoder: its name.
        delay: frames that the file may count and a decoder leaves out.

    Raises:
        RejectedRecording: with both numbers.
    """
    if (n_frames + delay) / rate_hz < seconds:
        detail = f"the file says {seconds:.3f} s, {decoder} reads {n_frames / rate_hz:.3f} s"
        raise RejectedRecording("decode", "truncated", detail)
