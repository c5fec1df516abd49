"""What the images install of the project: a wheel with every file of the packages."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.processes import ROOT

PACKAGES = ("beam_features", "dem", "similarity", "trainer", "tuning")
BUILT_FROM = ("pyproject.toml", "setup.py", "README.md", "LICENSE")
NOT_SOURCES = shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info")


def test_the_wheel_has_all_modules_and_the_files_beside_them(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=NOT_SOURCES)
    expected = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    for name in BUILT_FROM:
        shutil.copy(ROOT / name, source)
    program = "from setuptools.build_meta import build_wheel; build_wheel('wheel')"
    subprocess.run([sys.executable, "-c", program], cwd=source, check=True, capture_output=True)
    (wheel,) = (source / "wheel").glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
    assert {"similarity/map/page.html", "similarity/map/page.css", "similarity/map/page.js"} < names
    assert names == expected
