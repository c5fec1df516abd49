"""What is said of memory."""

import os

from trainer.runtime.memory import available_memory_bytes, gpu_memory_bytes, peak_memory_mib


def total_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_available_memory_is_a_part_of_all() -> None:
    available = available_memory_bytes()
    assert available is not None
    assert 0 < available < total_bytes()


def test_the_peak_is_that_of_a_process_with_tensorflow() -> None:
    assert 100 * 2**20 < peak_memory_mib() * 2**20 < total_bytes()


def test_without_a_gpu_there_is_no_gpu_memory() -> None:
    assert gpu_memory_bytes() is None
