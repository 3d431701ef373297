"""Files that sets are published in, where a user has put them into a folder of sets."""

import hashlib
from pathlib import Path

import pytest

from raysl.data.registry.archives import Archive, find_given
from raysl.errors import DataError

CONTENT = b"what was published"
ARCHIVE = Archive(("https://not.asked/file.zip",), "file.zip", "sha256", hashlib.sha256(CONTENT).hexdigest())


def test_a_given_file_is_looked_for_in_both_homes(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_given(ARCHIVE) is None
    cached = cache / "data" / "file.zip"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(CONTENT)
    assert find_given(ARCHIVE) == cached
    monkeypatch.setenv("RAYSL_DATA", str(tmp_path))
    assert find_given(ARCHIVE) == cached
    (tmp_path / "file.zip").write_bytes(CONTENT)
    assert find_given(ARCHIVE) == tmp_path / "file.zip"


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT.replace(b"w", b"W")])
def test_another_file_of_that_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setenv("RAYSL_DATA", str(tmp_path))
    (tmp_path / "file.zip").write_bytes(content)
    checksums = f"sha256 is {hashlib.sha256(content).hexdigest()}, not {ARCHIVE.checksum}"
    with pytest.raises(DataError, match=rf"^{tmp_path}/file\.zip: {checksums} \(truncated, altered or .*; replace it"):
        find_given(ARCHIVE)


def test_a_given_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setenv("RAYSL_DATA", str(tmp_path))
    (tmp_path / "file.zip").write_bytes(CONTENT)
    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(DataError, match=r"file\.zip: cannot be read: Permission denied"):
        find_given(ARCHIVE)
