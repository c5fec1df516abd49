"""Cloud storage on this machine: an emulator, the proxy in front of it, and how to get there."""

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock
from urllib.parse import quote

import requests
from gcp_storage_emulator.handlers import objects
from gcp_storage_emulator.server import create_server

from tests.buckets.authority import write_authority
from tests.buckets.faults import Fault
from tests.buckets.proxy import HOSTS, Exchange, Proxy
from tests.cluster import free_ports


@dataclass(frozen=True)
class StorageService:
    """What tests see of it."""

    proxy: Proxy
    environment: dict[str, str]  # for processes that are to find it
    _emulator_port: int

    def new_bucket(self) -> str:
        """Make a bucket; return its name."""
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        requests.post(self._url("b"), json={"name": name}, timeout=30).raise_for_status()
        return name

    def inject(self, *faults: Fault):
        """Put faults in force while the body runs."""
        return self.proxy.faults.inject(*faults)

    def log_of(self, bucket: str, client: str | None = None) -> list[Exchange]:
        """What TensorFlow (``tls``), others (``plain``) or all have asked of a bucket."""
        return [
            one
            for one in list(self.proxy.log)
            if f"/{bucket}/" in one.path + "/" and client in (None, one.client)
        ]

    def names(self, bucket: str, prefix: str = "") -> list[str]:
        """Objects that a bucket holds, sorted, asked for past the proxy."""
        found = requests.get(self._url("b", bucket, "o"), params={"prefix": prefix}, timeout=30)
        found.raise_for_status()
        return sorted(item["name"] for item in found.json()["items"])

    def read(self, bucket: str, name: str) -> bytes:
        """Content of an object, asked for past the proxy."""
        url = self._url("b", bucket, "o", quote(name, safe=""))
        found = requests.get(url, params={"alt": "media"}, timeout=30)
        found.raise_for_status()
        return found.content

    def write(self, bucket: str, name: str, content: bytes) -> None:
        """Make or replace an object, past the proxy."""
        url = f"http://127.0.0.1:{self._emulator_port}/upload/storage/v1/b/{bucket}/o"
        parameters = {"uploadType": "media", "name": name}
        requests.post(url, content, params=parameters, timeout=30).raise_for_status()

    def upload(self, directory: Path, bucket: str, prefix: str) -> str:
        """Copy the files directly in a directory; return the URI of their place in the bucket."""
        for path in sorted(directory.iterdir()):
            self.write(bucket, f"{prefix}/{path.name}", path.read_bytes())
        return f"gs://{bucket}/{prefix}"

    def _url(self, *parts: str) -> str:
        return "/".join([f"http://127.0.0.1:{self._emulator_port}/storage/v1", *parts])


@contextmanager
def storage_service(directory: Path) -> Iterator[StorageService]:
    """Run it; `directory` takes the CA's certificate."""
    (port,) = free_ports(1)
    authority, tls = write_authority(directory, HOSTS)
    logging.getLogger("gcp_storage_emulator").setLevel("ERROR")  # it warns of every deletion
    emulator = create_server("127.0.0.1", port, in_memory=True)
    with mock.patch.multiple(
        objects,
        _media_upload=_with_empty_bodies(objects._media_upload),
        _resumable_incomplete=_telling_nothing_from_one_byte(objects._resumable_incomplete),
    ):
        emulator.start()
        proxy = Proxy(port, tls)
        try:
            yield StorageService(proxy, _environment(proxy, authority, directory), port)
        finally:
            proxy.shutdown()
            proxy.server_close()
            emulator.stop()


def _with_empty_bodies(upload):
    """Let the emulator take an upload of 0 bytes, TensorFlow's "directory", which it holds as None.

    It fails with these otherwise, and TensorFlow tries again for minutes.
    """

    def upload_any(request, response, storage):
        if request.data is None:
            request._data = b""
        upload(request, response, storage)

    return upload_any


def _telling_nothing_from_one_byte(answer):
    """Let the emulator say of an upload that has nothing yet what Cloud Storage says: no range.

    It says ``bytes=0-0`` otherwise, and TensorFlow leaves out the first byte.
    """

    def answer_any(response, storage, upload_id, *rest, **more):
        answer(response, storage, upload_id, *rest, **more)
        if storage.get_resumable_byte_count(upload_id) == 0:
            response._headers.pop("Range", None)

    return answer_any


def _environment(proxy: Proxy, authority: Path, directory: Path) -> dict[str, str]:
    """What leads all clients to the proxy, whatever the surroundings say of proxies."""
    http = f"http://{proxy.address}"
    nothing = dict.fromkeys(
        ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"), ""
    )
    return nothing | {
        "STORAGE_EMULATOR_HOST": http,
        "HTTPS_PROXY": http,
        "https_proxy": http,
        "CURL_CA_BUNDLE": str(authority),
        "REQUESTS_CA_BUNDLE": str(authority),
        "no_grpc_proxy": "127.0.0.1,localhost",  # workers of one machine talk to each other
        # Credentials come as on a machine of Google's, whoever runs the tests.
        "GCE_METADATA_HOST": proxy.address,
        "GCE_METADATA_IP": proxy.address,
        "GCE_METADATA_TIMEOUT": "1",
        "GOOGLE_APPLICATION_CREDENTIALS": "",
        "CLOUDSDK_CONFIG": str(directory / "no-gcloud"),
        "GOOGLE_CLOUD_PROJECT": "test-project",
    }
