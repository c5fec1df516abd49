"""Keras models as files, on local disk or in a bucket."""

import os
import tempfile
import zipfile
from collections.abc import Mapping

import keras

from dem import storage
from dem.access import is_remote


def save_keras(model: keras.Model, uri: str, beside: Mapping[str, str] | None = None) -> None:
    """Write a ``.keras`` file that appears complete or not at all.

    Args:
        model: what to save.
        uri: where to.
        beside: text files to put into the archive, which Keras ignores; by name.
    """
    with tempfile.TemporaryDirectory() as directory:
        local = os.path.join(directory, "model.keras")
        model.save(local)
        with zipfile.ZipFile(local, "a") as archive:
            for name, text in (beside or {}).items():
                archive.writestr(name, text)
        storage.copy(local, uri)


def load_keras(uri: str) -> keras.Model:
    """Load a ``.keras`` file without running code that it might carry."""
    with tempfile.TemporaryDirectory() as directory:
        local = uri
        if is_remote(uri):
            local = os.path.join(directory, "model.keras")
            storage.copy(uri, local)
        return keras.models.load_model(local, compile=False, safe_mode=True)
