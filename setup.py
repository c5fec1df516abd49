"""Shim for Beam's ``--setup_file``, which calls ``setup.py``; all is in ``pyproject.toml``."""

from setuptools import setup

setup()
