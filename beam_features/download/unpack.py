"""Unpack one zip file; refuse member names that lead out of the directory."""

import shutil
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from dem.errors import JobError


def unpack(archive: Path, directory: Path, roots: Collection[str]) -> None:
    """Unpack the `roots` of `archive` into `directory`, over files of an interrupted attempt.

    The CRC-32 of each member is verified.

    Raises:
        JobError: the archive is corrupt or has a member outside of the directory (it is then
            deleted), or it is too large for the disk.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            members = [member for member in file.infolist() if _belongs(member.filename, roots)]
            _check_space(sum(member.file_size for member in members), directory)
            for member in tqdm(members, desc=f"unpacking {archive.name}", disable=None):
                file.extract(member, directory)
    except (_UnsafeName, zipfile.BadZipFile, zlib.error, EOFError) as error:
        archive.unlink()
        raise JobError(
            f"{archive.name} cannot be unpacked: {error}; it was deleted, run the same command to "
            "download it again"
        ) from error


class _UnsafeName(Exception):  # noqa: N818
    pass


def _belongs(name: str, roots: Collection[str]) -> bool:
    """Whether a member is below one of `roots`; others, such as ``__MACOSX/``, are skipped."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name:
        raise _UnsafeName(f"its member {name!r} would be written outside of the directory")
    return path.parts[:1] != () and path.parts[0] in roots


def _check_space(needed: int, directory: Path) -> None:
    free = shutil.disk_usage(directory).free
    if needed > free:
        raise JobError(
            f"{directory} has {free:,} bytes free, the next archive needs {needed:,}; free some "
            "space and run the same command again"
        )
