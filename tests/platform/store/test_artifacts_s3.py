"""The S3 store against a real HTTP endpoint (moto)."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from threedrs_platform.errors import ArtifactCorrupt, ConfigError, StorageError
from threedrs_platform.store.artifacts import ArtifactStore, Health, LocalStore
from threedrs_platform.store.open import open_store
from threedrs_platform.store.s3 import S3Store
from threedrs_platform.testing.store_contract import (
    StoreContract,
    corrupt_file,
    make_folder,
    read_folder,
)

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(importlib.util.find_spec("moto") is None, reason="needs moto[server]"),
]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def store(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = f"b{abs(hash(tmp_path))}"
    opened = open_store(f"s3://{bucket}/some/prefix", tmp_path / "cache")
    assert isinstance(opened, S3Store)
    opened._client.create_bucket(Bucket=bucket)
    return opened


def blob(store: S3Store, digest: str, name: str) -> dict[str, str]:
    entry = store._manifest(digest).files[name]
    return {"Bucket": store._bucket, "Key": store._blob_key(entry.sha256)}


class TestS3Store(StoreContract):
    def damage(self, store: ArtifactStore, digest: str, name: str) -> None:
        assert isinstance(store, S3Store)
        store._client.put_object(**blob(store, digest, name), Body=b"other")

    def lose(self, store: ArtifactStore, digest: str, name: str) -> None:
        assert isinstance(store, S3Store)
        store._client.delete_object(**blob(store, digest, name))


def elsewhere(store: S3Store, tmp_path: Path) -> S3Store:
    """The same bucket seen from a machine with an empty cache."""
    return S3Store(store.url, LocalStore(tmp_path / "another-cache"))


def test_another_machine_fetches_and_verifies(store: S3Store, tmp_path: Path) -> None:
    digest = store.publish(make_folder(tmp_path / "out", {"a": "1", "b/c": "2"})).digest
    assert read_folder(elsewhere(store, tmp_path).checkout(digest)) == {"a": "1", "b/c": "2"}


def test_another_machine_refuses_a_damaged_file(store: S3Store, tmp_path: Path) -> None:
    digest = store.publish(make_folder(tmp_path / "out", {"a": "1"})).digest
    store._client.put_object(**blob(store, digest, "a"), Body=b"2")
    with pytest.raises(ArtifactCorrupt, match="file a does not match its hash"):
        elsewhere(store, tmp_path).checkout(digest)
    assert store.stat_check(digest) is Health.MISSING


def test_a_damaged_cache_is_fetched_again(store: S3Store, tmp_path: Path) -> None:
    digest = store.publish(make_folder(tmp_path / "out", {"a": "1"})).digest
    corrupt_file(store.cache.folder(digest) / "files" / "a")
    assert read_folder(store.checkout(digest)) == {"a": "1"}


def test_a_second_writer_meets_412_and_agrees(
    store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = store.publish(make_folder(tmp_path / "1", {"a": "1"})).digest
    monkeypatch.setattr(S3Store, "_head", lambda self, key: None)  # it looked before the first put
    other = elsewhere(store, tmp_path)
    assert other.publish(make_folder(tmp_path / "2", {"a": "1"})).digest == first


def test_collection_keeps_files_that_living_artifacts_share(store: S3Store, tmp_path: Path) -> None:
    kept = store.publish(make_folder(tmp_path / "1", {"shared": "s", "own": "k"})).digest
    gone = store.publish(make_folder(tmp_path / "2", {"shared": "s", "own": "g"})).digest
    garbage = store.gc({kept}, grace_s=-10, apply=True)
    assert garbage.digests == (gone,) and garbage.size == 1
    assert store.verify(kept) is Health.OK


def test_an_unreachable_bucket_is_a_storage_error(tmp_path: Path, store: S3Store) -> None:
    nowhere = S3Store("s3://no-such-bucket-here/x", LocalStore(tmp_path / "c"))
    with pytest.raises(StorageError, match=r"cannot use s3://no-such-bucket-here/x"):
        nowhere.publish(make_folder(tmp_path / "out", {"a": "1"}))


def test_an_address_without_bucket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names no bucket"):
        open_store("s3:///prefix", tmp_path)


def test_credentials_are_not_in_the_message(
    tmp_path: Path, store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    nowhere: Any = S3Store("s3://no-such-bucket-here/x", LocalStore(tmp_path / "c"))
    with pytest.raises(StorageError) as caught:
        list(nowhere.digests())
    assert "hunter2" not in str(caught.value)
