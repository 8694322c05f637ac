"""A real server that speaks the API of S3, of the package moto."""

import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The server's address."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def empty_bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A bucket that holds nothing yet, and what opens it in the environment."""
    for name, value in (("ACCESS_KEY_ID", "k"), ("SECRET_ACCESS_KEY", "s"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    found = boto3.resource("s3", endpoint_url=s3).Bucket(f"voices-{uuid.uuid4().hex[:8]}")
    found.create()
    return found


def contents(bucket: Any, prefix: str) -> dict[str, bytes]:
    return {each.key: each.get()["Body"].read() for each in bucket.objects.filter(Prefix=prefix)}
