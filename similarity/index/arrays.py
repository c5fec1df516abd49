"""Arrays in ``.npy`` files: mapped into memory, or written row by row."""

from typing import Any

import numpy as np
import numpy.lib.format
import numpy.typing as npt


class ArrayWriter:
    """Append rows to a ``.npy`` file whose length is known only at its end."""

    def __init__(self, path: str, row_shape: tuple[int, ...], dtype: type) -> None:
        self.rows = 0
        self._shape, self._dtype = row_shape, np.dtype(dtype)
        self._file = open(path, "wb")  # noqa: SIM115 - closed by `close`
        self._write_header()

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Add rows at the end."""
        self._file.write(np.ascontiguousarray(rows, self._dtype).tobytes())
        self.rows += len(rows)

    def close(self) -> None:
        """Write the number of rows and close the file."""
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def _write_header(self) -> None:
        """The header has the same length for every number of rows, as NumPy pads it for growth."""
        header = {
            "descr": numpy.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self.rows, *self._shape),
        }
        numpy.lib.format.write_array_header_1_0(self._file, header)


def save_array(path: str, rows: npt.NDArray[Any]) -> None:
    """Write an array in single precision."""
    with open(path, "wb") as file:  # given a name, NumPy would add a suffix
        np.save(file, rows.astype(np.float32))


def map_array(path: str) -> npt.NDArray[Any]:
    """Map the array of a file into memory."""
    array: npt.NDArray[Any] = np.load(path, mmap_mode="r")
    return array
