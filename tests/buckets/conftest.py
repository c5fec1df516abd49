from collections.abc import Iterator

import pytest

from tests.buckets.storage_service import StorageService, storage_service


@pytest.fixture(scope="session")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageService]:
    """Cloud storage on this machine; its environment is for processes of their own."""
    with storage_service(tmp_path_factory.mktemp("gcs")) as service:
        yield service


@pytest.fixture
def bucket(gcs: StorageService) -> str:
    """Name of a bucket of the test's own."""
    return gcs.new_bucket()
