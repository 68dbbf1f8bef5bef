"""An S3 bucket that is asked again while it does not answer, as long as the database would be."""

from __future__ import annotations

import base64
import hashlib
import logging
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from threedrs_platform.errors import ConfigError, Fault, StorageError

PARALLEL_TRANSFERS = 16
SINGLE_PUT_LIMIT = 4 << 30
"""S3 takes at most 5 GB in one put; larger files go up in parts."""
PATIENCE_S = 300.0
"""How long a request is tried again; the same as for a database that went away."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 15.0
READ_TIMEOUT_S = 60
"""How long an answer may say nothing."""
TELL_AFTER_S = 10.0
TRIES_OF_UNKNOWN = 2
"""How often to try again to connect to what has never answered: its address may be wrong."""
_MISSING_CODES = ("404", "NoSuchKey", "NotFound")
_PASSING_CODES = {
    "BadDigest",
    "RequestTimeout",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
}
"""What passes though it is told with another status than 429 or 5xx: bytes lost on the way, too."""

Answer = TypeVar("Answer")
Item = TypeVar("Item")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stored:
    """What a bucket says of an object."""

    size: int
    modified: float
    """Seconds since 1970, in whole seconds."""


@dataclass(frozen=True)
class Reading:
    """What came of reading an object whole."""

    sha256: str
    is_what_is_stored: bool
    """Whether size and entity tag say that these are the bucket's bytes, not damaged underway."""


class Bucket:
    """The objects below a prefix, by their names without it."""

    def __init__(self, url: str, known: bool = False) -> None:
        """A bucket.

        Args:
            url: `s3://bucket/prefix`
            known: whether it has answered before; else no connection at all is told at once, for
                the address may be wrong.
        """
        name, _, prefix = url.removeprefix("s3://").partition("/")
        if not name:
            raise ConfigError([Fault(f"{url!r} names no bucket; write s3://bucket/prefix")])
        self.url = url.rstrip("/")
        self.name = name
        self._prefix = prefix.strip("/")
        self._known = known
        self.client = _client()

    def key(self, name: str) -> str:
        """The whole key of an object."""
        return f"{self._prefix}/{name}" if self._prefix else name

    def place(self, name: str) -> dict[str, str]:
        """Bucket and key of an object, as the client takes them."""
        return {"Bucket": self.name, "Key": self.key(name)}

    def look(self, name: str) -> Stored | None:
        """Size and time of an object, None if there is none."""
        answer = self._ask_for(lambda: self.client.head_object(**self.place(name)))
        return answer and Stored(answer["ContentLength"], answer["LastModified"].timestamp())

    def read(self, name: str) -> bytes | None:
        """Content of a small object, None if there is none.

        It is read again unless its entity tag, or another reading, says that it is whole.
        """
        before: bytes | None = None
        while True:
            found = self._ask_for(lambda: self._read(name))
            if found is None or found[1] or found[0] == before:
                return found and found[0]
            before = found[0]

    def read_hash(self, name: str) -> Reading | None:
        """Read an object whole and hash it, None if there is none."""
        return self._ask_for(lambda: self._read_hash(name))

    def download(self, name: str, target: Path) -> bool:
        """Write an object to a file; whether there is one."""
        target.parent.mkdir(parents=True, exist_ok=True)

        def load() -> bool:
            self.client.download_file(self.name, self.key(name), str(target))
            return True

        return self._ask_for(load) is not None

    def put(self, name: str, content: bytes | Path, sha256: str) -> bool:
        """Create an object; False if there is one already, which then has the same content."""
        if isinstance(content, Path) and content.stat().st_size > SINGLE_PUT_LIMIT:
            # An upload in parts knows no `If-None-Match`; a second writer puts the same bytes.
            extra = {"ChecksumAlgorithm": "SHA256"}
            self.ask(
                lambda: self.client.upload_file(
                    str(content), self.name, self.key(name), ExtraArgs=extra
                )
            )
            return True
        checksum = base64.b64encode(bytes.fromhex(sha256)).decode()
        return self.ask(lambda: self._put(name, content, checksum))

    def put_mark(self, name: str) -> None:
        """Put an empty object."""
        self.ask(lambda: self.client.put_object(**self.place(name), Body=b""))

    def touch(self, name: str) -> bool:
        """Make an object young again, on the server; whether there is one."""
        source = self.place(name)
        extra = {"MetadataDirective": "REPLACE", "ChecksumAlgorithm": "SHA256"}

        def copy() -> bool:
            self.client.copy(source, **source, ExtraArgs=extra)
            return True

        return self._ask_for(copy) is not None

    def move(self, name: str, target: str) -> None:
        """Rename an object that may be gone."""
        source = self.place(name)
        self._ask_for(lambda: self.client.copy_object(**self.place(target), CopySource=source))
        self.delete(name)

    def delete(self, name: str) -> None:
        """Remove an object that may be gone."""
        self.ask(lambda: self.client.delete_object(**self.place(name)))

    def objects(self, folder: str) -> Iterator[tuple[str, Stored]]:
        """Names of all objects of a folder, and what is said of them."""
        more: dict[str, Any] = {}
        hidden = len(self.key(""))
        while True:
            page = self.ask(
                lambda more=more: self.client.list_objects_v2(  # type: ignore[misc]
                    Bucket=self.name, Prefix=self.key(folder), **more
                )
            )
            for item in page.get("Contents", ()):
                about = Stored(item["Size"], float(int(item["LastModified"].timestamp())))
                yield item["Key"][hidden:], about
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def each(self, do: Callable[[Item], Answer], items: list[Item]) -> list[Answer]:
        """Do something with many objects at once; after a failure nothing more is begun."""
        pool = ThreadPoolExecutor(PARALLEL_TRANSFERS)
        try:
            return list(pool.map(do, items))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def ask(self, request: Callable[[], Answer]) -> Answer:
        """The answer to a request, which is made again while what stops it may pass.

        Raises:
            StorageError: the bucket is forbidden, absent, or out of reach for too long. The text
                shows no credentials.
        """
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        began = told = time.monotonic()
        tries = 0
        while True:
            try:
                answer = request()
            except (BotoCoreError, ClientError, Boto3Error, ResponseParserError) as error:
                waited = time.monotonic() - began
                if not self._may_pass(error, tries) or waited > PATIENCE_S:
                    raise StorageError(f"cannot use {self.url}: {error}") from error
                if time.monotonic() - told > TELL_AFTER_S:
                    told = time.monotonic()
                    _log.warning(
                        "%s does not answer for %.0f s, asked again until %.0f s: %s",
                        self.url,
                        waited,
                        PATIENCE_S,
                        error,
                    )
            else:
                self._known = True
                return answer
            # Jitter: else all who were refused at once come back at once.
            longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**tries)
            time.sleep(longest * random.uniform(0.5, 1.0))
            tries += 1

    def _ask_for(self, request: Callable[[], Answer]) -> Answer | None:
        """As `ask`, for an object that there may be none of."""
        from botocore.exceptions import ClientError

        def asking() -> Answer | None:
            try:
                return request()
            except ClientError as error:
                if error.response["Error"]["Code"] in _MISSING_CODES:
                    return None
                raise

        return self.ask(asking)

    def _may_pass(self, error: Exception, tries: int) -> bool:
        from botocore.exceptions import ClientError

        answered = error if isinstance(error, ClientError) else error.__context__
        if isinstance(answered, ClientError):
            status = answered.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            code = answered.response.get("Error", {}).get("Code")
            return status >= 500 or status == 429 or code in _PASSING_CODES
        return _is_of_the_network(error) and (self._known or tries < TRIES_OF_UNKNOWN)

    def _put(self, name: str, content: bytes | Path, checksum: str) -> bool:
        from botocore.exceptions import ClientError

        body: Any = content.open("rb") if isinstance(content, Path) else content
        try:
            self.client.put_object(
                **self.place(name), Body=body, ChecksumSHA256=checksum, IfNoneMatch="*"
            )
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 412:
                raise
            return False
        finally:
            if isinstance(content, Path):
                body.close()
        return True

    def _read(self, name: str) -> tuple[bytes, bool]:
        """Content of an object, and whether its tag vouches for it."""
        answer = self.client.get_object(**self.place(name))
        content = bytes(answer["Body"].read())
        return content, _tag_of(answer) == hashlib.md5(content, usedforsecurity=False).hexdigest()

    def _read_hash(self, name: str) -> Reading:
        answer = self.client.get_object(**self.place(name))
        digest, tag, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
        for block in answer["Body"].iter_chunks(1 << 20):
            digest.update(block)
            tag.update(block)
            size += len(block)
        said = _tag_of(answer)
        sound = size == answer["ContentLength"] and said in (None, tag.hexdigest())
        return Reading(digest.hexdigest(), sound)


def _tag_of(answer: dict[str, Any]) -> str | None:
    """MD5 of an object; None for one in parts, or under a key of somebody: its tag is another."""
    said = str(answer["ETag"]).strip('"')
    has_key = "SSECustomerAlgorithm" in answer
    has_key |= answer.get("ServerSideEncryption", "AES256") != "AES256"
    return said if len(said) == 32 and not has_key else None


def _client() -> Any:
    """An S3 client; endpoint, region and credentials come from boto3's usual environment."""
    import boto3
    from botocore.config import Config as BotoConfig

    retries = {"total_max_attempts": 1}  # `Bucket.ask` waits as long as it should
    config = BotoConfig(
        retries=retries,
        max_pool_connections=PARALLEL_TRANSFERS,
        connect_timeout=10,
        read_timeout=READ_TIMEOUT_S,
    )
    return boto3.client("s3", config=config)


def _is_of_the_network(error: Exception) -> bool:
    """Whether an answer did not come, or came in pieces."""
    from boto3.exceptions import RetriesExceededError
    from botocore import exceptions
    from botocore.parsers import ResponseParserError

    return isinstance(
        error,
        exceptions.HTTPClientError
        | exceptions.ConnectionError
        | exceptions.IncompleteReadError
        | exceptions.FlexibleChecksumError
        | exceptions.ResponseStreamingError
        | RetriesExceededError
        | ResponseParserError,
    )
