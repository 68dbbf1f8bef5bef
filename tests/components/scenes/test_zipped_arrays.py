from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from threedrs_components.scenes import zipped_arrays
from threedrs_components.scenes.zipped_arrays import only_array, zipped_array


def saved(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> bytes:
    target = io.BytesIO()
    np.save(target, array)
    return target.getvalue()


def test_arrays_are_read_in_either_order(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.int16).reshape(2, 3)
    np.savez_compressed(tmp_path / "a.npz", array, by_column=np.asfortranarray(array))
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        np.testing.assert_array_equal(zipped_array(archive, "arr_0"), array)
        np.testing.assert_array_equal(zipped_array(archive, "by_column"), array)
    with pytest.raises(ValueError, match="expected one array, it has 2"):
        only_array(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("content", "way", "reason"),
    [
        (saved(np.zeros(3, np.int8)), zipfile.ZIP_LZMA, "packed in way 14; save it with NumPy"),
        (saved(np.zeros(3, np.int8))[:-1], zipfile.ZIP_DEFLATED, "claims shape .3,. of int8"),
        (
            saved(np.zeros(3, np.int8)).replace(b"(3,)", b"(9,)"),
            zipfile.ZIP_STORED,
            "claims shape .9,. of int8",
        ),
        (saved(np.zeros(300, np.int8)), zipfile.ZIP_DEFLATED, "claims 428 bytes; the most is"),
    ],
)
def test_a_header_that_lies_is_refused(
    content: bytes, way: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zipped_arrays, "LARGEST_ARRAY", 400)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", way) as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(ValueError, match=reason):
        only_array(tmp_path / "a.npz")


def test_the_one_array_is_read(tmp_path: Path) -> None:
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    np.savez(tmp_path / "a.npz", depth=array)
    np.testing.assert_array_equal(only_array(tmp_path / "a.npz"), array)
