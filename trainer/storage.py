"""Small files on local disk and in object storage alike, through TensorFlow's filesystems."""

import os
import tempfile

import keras
import tensorflow as tf


def join(root: str, *names: str) -> str:
    """Join a URI and names; a pathlib.Path would turn ``gs://`` into ``gs:/``."""
    return "/".join([root.rstrip("/"), *names])


def exists(uri: str) -> bool:
    """Whether there is a file or directory of that URI."""
    return bool(tf.io.gfile.exists(uri))


def delete(uri: str) -> None:
    """Delete a file, if there is one."""
    if exists(uri):
        tf.io.gfile.remove(uri)


def read_text(uri: str) -> str:
    """Read a UTF-8 file; raises FileNotFoundError where there is none."""
    if not exists(uri) or tf.io.gfile.isdir(uri):
        raise FileNotFoundError(uri)
    with tf.io.gfile.GFile(uri) as file:
        return str(file.read())


def write_bytes(uri: str, data: bytes) -> None:
    """Write a file that appears under its name complete or not at all."""
    tf.io.gfile.makedirs(os.path.dirname(uri) or ".")
    temporary = f"{uri}.tmp"
    with tf.io.gfile.GFile(temporary, "wb") as file:
        file.write(data)
    tf.io.gfile.rename(temporary, uri, overwrite=True)


def write_text(uri: str, text: str) -> None:
    """Write a UTF-8 file that appears complete or not at all."""
    write_bytes(uri, text.encode())


def save_keras(model: keras.Model, uri: str) -> None:
    """Write a ``.keras`` file that appears complete or not at all."""
    with tempfile.TemporaryDirectory() as directory:
        local = os.path.join(directory, "model.keras")
        model.save(local)
        with open(local, "rb") as file:
            write_bytes(uri, file.read())


def load_keras(uri: str) -> keras.Model:
    """Load a ``.keras`` file without running code that it might carry."""
    return keras.models.load_model(uri, compile=False, safe_mode=True)
