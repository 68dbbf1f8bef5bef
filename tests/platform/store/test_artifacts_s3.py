"""The S3 store against a real HTTP endpoint (moto)."""

import importlib.util
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from threedrs_platform.errors import ArtifactCorrupt, ConfigError, StorageError
from threedrs_platform.store import bucket
from threedrs_platform.store.artifacts import ArtifactStore, Health
from threedrs_platform.store.bucket import Stored
from threedrs_platform.store.local import LocalStore
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
    opened.bucket.client.create_bucket(Bucket=bucket)
    return opened


def blob(store: S3Store, digest: str, name: str) -> dict[str, str]:
    entry = store.manifest(digest).files[name]
    return store.bucket.place(f"blobs/{entry.sha256[:2]}/{entry.sha256}")


class TestS3Store(StoreContract):
    def damage(self, store: ArtifactStore, digest: str, name: str) -> None:
        assert isinstance(store, S3Store)
        store.bucket.client.put_object(**blob(store, digest, name), Body=b"other")

    def lose(self, store: ArtifactStore, digest: str, name: str) -> None:
        assert isinstance(store, S3Store)
        store.bucket.client.delete_object(**blob(store, digest, name))


def elsewhere(store: S3Store, tmp_path: Path) -> S3Store:
    """The same bucket seen from a machine with an empty cache."""
    return S3Store(store.url, LocalStore(tmp_path / "another-cache"))


def test_another_machine_fetches_and_verifies(store: S3Store, tmp_path: Path) -> None:
    digest = store.publish(make_folder(tmp_path / "out", {"a": "1", "b/c": "2"})).digest
    assert read_folder(elsewhere(store, tmp_path).checkout(digest)) == {"a": "1", "b/c": "2"}


def test_another_machine_refuses_a_damaged_file(store: S3Store, tmp_path: Path) -> None:
    digest = store.publish(make_folder(tmp_path / "out", {"a": "1"})).digest
    store.bucket.client.put_object(**blob(store, digest, "a"), Body=b"2")
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
    other = elsewhere(store, tmp_path)
    look, looked = other.bucket.look, list[str]()

    def too_early(name: str) -> Stored | None:
        looked.append(name)
        return None if len(looked) == 1 else look(name)

    monkeypatch.setattr(other.bucket, "look", too_early)
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


class Faults:
    """Answers instead of the server, as often as it is told to."""

    def __init__(self, store: S3Store, verbs: str = "GET HEAD PUT") -> None:
        self.left, self.every, self.seen, self.verbs = 0, 1, 0, verbs.split()
        store.bucket.client.meta.events.register("before-send.s3", self.answer)

    def answer(self, request: Any, **_: Any) -> Any:
        from botocore.awsrequest import AWSResponse

        self.seen += 1
        if self.left == 0 or self.seen % self.every or request.method not in self.verbs:
            return None
        self.left -= 1
        raw = io.BytesIO(b"<Error><Code>SlowDown</Code></Error>")
        raw.stream = lambda *_, **__: iter([raw.getvalue()])  # type: ignore[attr-defined]
        return AWSResponse(request.url, 503, {}, raw)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(bucket, "LONGEST_WAIT_S", 0.002)


def test_refused_requests_are_made_again(store: S3Store, tmp_path: Path, impatient: None) -> None:
    faults = Faults(store)
    faults.left = 30
    digest = store.publish(make_folder(tmp_path / "out", {"a": "1", "b": "2"})).digest
    assert faults.left == 0
    faults.left, faults.every = 1000, 5
    assert store.verify(digest) is Health.OK and store.contains(digest)
    assert store.verify(digest) is Health.OK and faults.left < 1000
    other = elsewhere(store, tmp_path)
    Faults(other).left = 20
    assert read_folder(other.checkout(digest)) == {"a": "1", "b": "2"}


def test_patience_with_a_bucket_ends(
    store: S3Store, tmp_path: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "PATIENCE_S", 0.05)
    Faults(store).left = 100_000
    with pytest.raises(StorageError, match=r"cannot use s3://\S+: An error occurred \(SlowDown\)"):
        store.publish(make_folder(tmp_path / "out", {"a": "1"}))


def test_no_connection_at_all_is_told_at_once_by_who_never_had_one(
    store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(StorageError, match="Could not connect"):
        S3Store(store.url, LocalStore(tmp_path / "c")).contains("0" * 64)
    assert time.monotonic() - began < 10


def test_a_reader_who_gets_other_bytes_leaves_the_artifact_to_others(
    store: S3Store, tmp_path: Path, impatient: None
) -> None:
    digest = store.publish(make_folder(tmp_path / "out", {"a": "1"})).digest
    reader = elsewhere(store, tmp_path)
    download = reader.bucket.download

    def damaging(name: str, target: Path) -> bool:
        download(name, target)
        target.write_text("2")
        return True

    with (
        patch.object(reader.bucket, "download", damaging),
        pytest.raises(StorageError, match="the bucket's own bytes are sound"),
    ):
        reader.checkout(digest)
    answers = iter([damaging, download])
    with patch.object(reader.bucket, "download", lambda *about: next(answers)(*about)):
        assert read_folder(reader.checkout(digest)) == {"a": "1"}
    assert store.stat_check(digest) is Health.OK


def test_bytes_that_were_damaged_on_the_way_prove_nothing_about_the_bucket(
    store: S3Store, tmp_path: Path
) -> None:
    digest = store.publish(make_folder(tmp_path / "out", {"a": "1"})).digest
    wrong = bucket.Reading("0" * 64, is_what_is_stored=False)
    with (
        patch.object(store.bucket, "read_hash", lambda name: wrong),
        pytest.raises(StorageError, match="what lies between damages them"),
    ):
        store.verify(digest)
    assert store.verify(digest) is Health.OK


def test_a_file_that_is_used_again_while_it_is_collected_stays(
    store: S3Store, tmp_path: Path
) -> None:
    gone = store.publish(make_folder(tmp_path / "1", {"shared": "s", "old": "o"})).digest
    time.sleep(1.1)  # times in a bucket are whole seconds
    publisher, named_files = elsewhere(store, tmp_path), store._named_files
    published = []

    def interleaved(digests: set[str]) -> set[str]:
        living = named_files(digests)
        folder = make_folder(tmp_path / "2", {"shared": "s", "new": "n"})
        published.append(publisher.publish(folder).digest)
        return living

    with patch.object(store, "_named_files", interleaved):
        assert store.gc(set(), grace_s=0, apply=True).digests == (gone,)
    assert store.verify(published[0]) is Health.OK


def test_a_file_that_a_collection_removed_under_its_publisher_is_sent_again(
    store: S3Store, tmp_path: Path
) -> None:
    store.publish(make_folder(tmp_path / "1", {"shared": "s"}))
    publisher = elsewhere(store, tmp_path)
    put = publisher.bucket.put

    def collected_meanwhile(name: str, content: bytes | Path, sha256: str) -> bool:
        if name.startswith("manifests/"):
            store.gc(set(), grace_s=-10, apply=True)
        return put(name, content, sha256)

    collections = iter([collected_meanwhile])
    with patch.object(publisher.bucket, "put", lambda *about: next(collections, put)(*about)):
        digest = publisher.publish(make_folder(tmp_path / "3", {"shared": "s"})).digest
    assert store.verify(digest) is Health.OK


def test_a_cache_makes_room_but_never_for_what_is_read(store: S3Store, tmp_path: Path) -> None:
    digests = [
        store.publish(make_folder(tmp_path / name, {"a": name * 100})).digest for name in "abc"
    ]
    cache = LocalStore(tmp_path / "small")
    reader = S3Store(store.url, cache, cache_bytes=250)
    first, second, third = digests
    folder = reader.checkout(first)
    reader.checkout(second)
    reader.release(second)
    other = S3Store(store.url, cache, cache_bytes=250)  # as another process
    other.checkout(third)
    assert set(cache.digests()) == {first, third} and read_folder(folder) == {"a": "a" * 100}
    reader.release(first)
    other.checkout(second)
    assert set(cache.digests()) == {second, third}
