"""Stand-ins for base images where no registry can be reached: from Debian's packages."""

import shutil
import subprocess
from pathlib import Path

from tests.images.buildah import Buildah

_MIRROR = "http://deb.debian.org/debian"
_PACKAGES = "python3.11,python3.11-venv,python3-distutils,ca-certificates"

_BASE = """\
FROM scratch
COPY root/ /
CMD ["python3"]
"""
_BEAM = """\
FROM scratch
COPY boot /opt/apache/beam/boot
"""
_BOOT = """\
#!/bin/sh
echo "a stand-in for the boot program of Beam's image: it starts no worker" >&2
exit 1
"""


def build_base(buildah: Buildah, directory: Path) -> str:
    """Bootstrap Debian 12 with its Python 3.11; return the image's name.

    Like Python's official image it has a ``python`` in ``/usr/local/bin``, no compilers, and no
    lists of packages.
    """
    name = "localhost/python-stand-in:3.11"
    root = directory / "base" / "root"
    if not (root.parent / "Dockerfile").exists():
        shutil.rmtree(root, ignore_errors=True)  # of one that was broken off
        root.parent.mkdir(parents=True, exist_ok=True)
        words = ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm"]
        subprocess.run([*words, str(root), _MIRROR], check=True, stdout=subprocess.DEVNULL)
        for alias in ("python", "python3"):
            (root / "usr/local/bin" / alias).symlink_to("/usr/bin/python3.11")
        for leftovers in ("var/cache/apt/archives", "var/lib/apt/lists", "debootstrap"):
            shutil.rmtree(root / leftovers, ignore_errors=True)
        (root.parent / "Dockerfile").write_text(_BASE)  # last: it says that the root is complete
    buildah.build(name, root.parent, root.parent / "Dockerfile")
    return name


def build_beam(buildah: Buildah, directory: Path) -> str:
    """Build what has a file where Beam's image has its boot program; return the image's name."""
    name = "localhost/beam-stand-in:none"
    context = directory / "beam"
    context.mkdir(parents=True, exist_ok=True)
    (context / "boot").write_text(_BOOT)
    (context / "boot").chmod(0o755)
    (context / "Dockerfile").write_text(_BEAM)
    buildah.build(name, context, context / "Dockerfile")
    return name
