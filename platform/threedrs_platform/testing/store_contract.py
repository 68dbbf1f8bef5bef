"""What every artifact store must do. Subclass it and give a `store` fixture."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from threedrs_platform.errors import ArtifactError, ArtifactMissing
from threedrs_platform.store.artifacts import ArtifactStore, Health

UNKNOWN = "0" * 64


def make_folder(root: Path, files: dict[str, str]) -> Path:
    """A folder with text files, by relative name."""
    root.mkdir(parents=True)
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def read_folder(root: Path) -> dict[str, str]:
    """All text files below a folder, by relative name."""
    return {
        path.relative_to(root).as_posix(): path.read_text()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


class StoreContract:
    """Tests that hold for every store."""

    FILES: ClassVar = {"a.txt": "alpha", "deep/er/b.txt": "beta", "empty": ""}

    def damage(self, store: ArtifactStore, digest: str, name: str) -> None:
        """Change one byte of a stored file, behind the store's back."""
        raise AssertionError("a subclass says how to damage its store")

    def lose(self, store: ArtifactStore, digest: str, name: str) -> None:
        """Delete one stored file, behind the store's back."""
        raise AssertionError("a subclass says how to lose a file of its store")

    def test_what_is_checked_out_is_what_was_published(
        self, store: ArtifactStore, tmp_path: Path
    ) -> None:
        """Names and contents survive."""
        published = store.publish(make_folder(tmp_path / "out", self.FILES))
        assert read_folder(store.checkout(published.digest)) == self.FILES
        assert (published.size, published.files) == (9, 3)

    def test_equal_content_has_one_digest(self, store: ArtifactStore, tmp_path: Path) -> None:
        """However often, and in whatever order files were written."""
        first = store.publish(make_folder(tmp_path / "1", self.FILES)).digest
        again = dict(reversed(self.FILES.items()))
        assert store.publish(make_folder(tmp_path / "2", again)).digest == first
        assert list(store.digests()) == [first]

    def test_names_and_contents_are_in_the_digest(
        self, store: ArtifactStore, tmp_path: Path
    ) -> None:
        """Three different folders are three artifacts."""
        trees = [{"a": "1"}, {"a": "2"}, {"b": "1"}]
        digests = {
            store.publish(make_folder(tmp_path / str(i), tree)).digest
            for i, tree in enumerate(trees)
        }
        assert len(digests) == 3 and set(store.digests()) == digests

    def test_an_empty_folder_is_an_artifact(self, store: ArtifactStore, tmp_path: Path) -> None:
        """A step may have nothing but metrics."""
        digest = store.publish(make_folder(tmp_path / "out", {})).digest
        assert read_folder(store.checkout(digest)) == {}

    def test_an_unknown_artifact_is_missing(self, store: ArtifactStore) -> None:
        """Whichever way one asks."""
        assert not store.contains(UNKNOWN)
        assert store.stat_check(UNKNOWN) is Health.MISSING
        assert store.verify(UNKNOWN) is Health.MISSING
        with pytest.raises(ArtifactMissing):
            store.checkout(UNKNOWN)

    @pytest.mark.parametrize("digest", ["", "../../etc/passwd", "0" * 63, "g" * 64])
    def test_what_is_no_digest_never_becomes_a_path(
        self, store: ArtifactStore, digest: str
    ) -> None:
        """Not even for a look."""
        with pytest.raises(ArtifactMissing, match="is not an artifact digest"):
            store.checkout(digest)

    def test_a_link_is_refused(self, store: ArtifactStore, tmp_path: Path) -> None:
        """Its target could lie anywhere."""
        folder = make_folder(tmp_path / "out", {"a": "1"})
        (folder / "link").symlink_to("/etc/hostname")
        with pytest.raises(ArtifactError, match="plain files only"):
            store.publish(folder)
        assert list(store.digests()) == []

    def test_a_changed_byte_is_found_and_set_aside(
        self, store: ArtifactStore, tmp_path: Path
    ) -> None:
        """Verified in full, the artifact is corrupt, and gone afterwards."""
        digest = store.publish(make_folder(tmp_path / "out", self.FILES)).digest
        self.damage(store, digest, "a.txt")
        assert store.verify(digest) is Health.CORRUPT
        assert not store.contains(digest)

    def test_a_change_of_what_was_checked_out_is_seen(
        self, store: ArtifactStore, tmp_path: Path
    ) -> None:
        """And set aside, so that nobody is given it again."""
        digest = store.publish(make_folder(tmp_path / "out", self.FILES)).digest
        folder = store.checkout(digest)
        assert store.is_unchanged(digest)
        corrupt_file(folder / "a.txt")
        assert not store.is_unchanged(digest)
        assert not folder.exists()
        store.release(digest)

    def test_a_lost_file_is_found(self, store: ArtifactStore, tmp_path: Path) -> None:
        """An artifact without one of its files is corrupt."""
        digest = store.publish(make_folder(tmp_path / "out", self.FILES)).digest
        self.lose(store, digest, "a.txt")
        assert store.verify(digest) is Health.CORRUPT

    def test_a_damaged_artifact_can_be_published_again(
        self, store: ArtifactStore, tmp_path: Path
    ) -> None:
        """The same digest, sound again."""
        digest = store.publish(make_folder(tmp_path / "1", self.FILES)).digest
        self.damage(store, digest, "a.txt")
        assert store.verify(digest) is Health.CORRUPT
        assert store.publish(make_folder(tmp_path / "2", self.FILES)).digest == digest
        assert store.verify(digest) is Health.OK
        assert read_folder(store.checkout(digest)) == self.FILES

    def test_collection_spares_what_is_kept_pinned_or_young(
        self, store: ArtifactStore, tmp_path: Path
    ) -> None:
        """And removes the rest, but only when told to."""
        kept, pinned, rest = (
            store.publish(make_folder(tmp_path / name, {"a": name})).digest for name in "kpr"
        )
        store.pin(pinned)
        assert store.gc({kept}, grace_s=3600, apply=True).digests == ()
        planned = store.gc({kept}, grace_s=-1)
        assert planned.digests == (rest,) and store.contains(rest)
        done = store.gc({kept}, grace_s=-1, apply=True)
        assert (done.digests, done.kept) == ((rest,), 2)
        assert set(store.digests()) == {kept, pinned}
        store.pin(pinned, pinned=False)
        assert store.gc({kept}, grace_s=-1, apply=True).digests == (pinned,)
        assert read_folder(store.checkout(kept)) == {"a": "k"}


def corrupt_file(path: Path) -> None:
    """Flip the first byte of a file, whatever its permissions."""
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[0] ^= 0xFF
    path.write_bytes(bytes(content))
