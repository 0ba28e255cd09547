"""A real S3 endpoint over HTTP, in this process."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from shared.store.paths import Location, location

_numbers = itertools.count()


@contextmanager
def s3_endpoint() -> Iterator[str]:
    """An endpoint with one bucket; the environment points to it. Yields the bucket's name."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        # File systems are kept by fsspec for as long as their options are equal.
        _forget_file_systems()
        # Servers of one process share what they hold.
        bucket = f"bucket{next(_numbers)}"
        location(f"s3://{bucket}").fs.mkdir(bucket)  # type: ignore[union-attr]
        try:
            yield bucket
        finally:
            _forget_file_systems()
            server.stop()


def new_place(bucket: str) -> Location:
    """A prefix that nothing was written below yet."""
    return location(f"s3://{bucket}/place{next(_numbers)}")


def _forget_file_systems() -> None:
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
