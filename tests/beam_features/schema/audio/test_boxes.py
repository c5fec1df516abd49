"""Outermost objects of files that ffmpeg made."""

import io

import pytest

from beam_features.schema.audio import boxes
from beam_features.schema.audio.files import BrokenFile
from tests.beam_features.encoded import noisy_tone

FILES = {"a.m4a": ("MPEG-4", "aac"), "a.mka": ("Matroska", "flac"), "a.wma": ("ASF", "wmav2")}


@pytest.mark.parametrize(("file", "name", "codec"), [(n, *c) for n, c in FILES.items()])
def test_whole_cut_and_joined_files(convert, file, name, codec):
    whole = convert(noisy_tone(), file, "-c:a", codec)
    assert boxes.check(io.BytesIO(whole)) == name
    assert boxes.check(io.BytesIO(whole + b"TAG" + b"a" * 125)) == name
    with pytest.raises(BrokenFile, match=rf"truncated: a part of the {name} file should have \d+ "):
        boxes.check(io.BytesIO(whole[: len(whole) // 2]))
    with pytest.raises(BrokenFile, match=f"unknown_length: 2 {name} files were joined, of which"):
        boxes.check(io.BytesIO(whole + whole))


def test_other_files():
    assert boxes.check(io.BytesIO(b"words, words, words")) is None
