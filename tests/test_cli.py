"""The command line where its surroundings are hostile: one message, an exit code that tells, no traceback."""

import os
import subprocess
from pathlib import Path

import pytest
from tiny import command, here, write

import raysl as package

LONG = "x" * 100_000


def started(*arguments: object, stdout: object = subprocess.PIPE, cwd: object = None, **env: str) -> tuple[int, str]:
    """Run raysl in a process of its own; return its exit code and what it complained of."""
    done = subprocess.run(
        command(*arguments),
        stdout=stdout,  # type: ignore[call-overload]
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, **env},
        timeout=120,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("arguments", [["backbones"], ["--help"]])
def test_standard_output_that_is_full(arguments: list[str]) -> None:
    for unbuffered in ("", "1"):
        with open("/dev/full", "w") as full:
            ended = started(*arguments, stdout=full, PYTHONUNBUFFERED=unbuffered)
        assert ended == (1, "error: standard output: No space left on device\n")


@pytest.mark.slow
def test_a_search_whose_output_is_full_goes_on_from_there(tmp_path: Path) -> None:
    search = ["tune", write(tmp_path), "--results", tmp_path / "r", "--backend", "inline"]
    reader, writer = os.pipe()
    process = subprocess.Popen(command(*search), stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    printed = b""
    while b"[1/4]" not in printed:
        printed += os.read(reader, 100)
    os.close(reader)
    assert process.communicate(timeout=120)[1] == ""
    assert process.returncode == 1
    with open("/dev/full", "w") as full:
        assert started(*search, stdout=full) == (1, "error: standard output: No space left on device\n")
    done = here(*search)
    assert (done.returncode, done.stderr) == (0, "")
    assert "stage semi: 4 trials, 4 to train" not in done.stdout


def test_a_pipe_whose_reader_has_gone() -> None:
    for unbuffered in ("", "1"):
        reader, writer = os.pipe()
        os.close(reader)
        assert started("backbones", stdout=writer, PYTHONUNBUFFERED=unbuffered) == (1, "")
        os.close(writer)


def test_an_encoding_that_lacks_a_character(tmp_path: Path) -> None:
    code, complaint = started("tune", tmp_path / "\u00e9.yaml", PYTHONIOENCODING="ascii")
    assert code == 2
    assert complaint.startswith("error: ")
    assert "\\xe9.yaml: cannot be read" in complaint


def test_a_working_directory_that_was_removed(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    script = 'rmdir "$PWD" && exec "$@"'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *command("backbones")], cwd=folder, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: working directory: No such file or directory; it was removed, perhaps: cd elsewhere\n"


NOT_UTF_8 = os.fsdecode(b"r\xe9sultats")


def test_paths_that_are_not_utf_8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path)
    odd = tmp_path / NOT_UTF_8
    odd.mkdir()
    expected = {
        "--results": ["tune", file, "--results", odd, "--dry-run"],
        "--tracking": ["tune", file, "--tracking", f"sqlite:///{odd}/x.db", "--dry-run"],
        "results folder": ["show", odd],
        "cache (RAYSL_CACHE)": ["tune", file, "--dry-run"],
        "working directory": ["tune", file, "--dry-run"],
    }
    for what, arguments in expected.items():
        with monkeypatch.context() as patch:
            if what.startswith("cache"):
                patch.setenv("RAYSL_CACHE", str(odd))
            if what.startswith("working"):
                patch.chdir(odd)
            done = here(*arguments)
        assert done.returncode == 2
        assert f" {what} " in done.stderr
        assert "/r\\udce9sultats" in done.stderr
        assert ": the path is not UTF-8" in done.stderr
    assert list(odd.iterdir()) == []


@pytest.mark.parametrize("name", ["y" * 300, "a\nb", "\x1b[31m"])
@pytest.mark.parametrize("whose", ["RAYSL_CACHE", "RAYSL_DATA", "--results"])
def test_folders_that_cannot_be(name: str, whose: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = [whose, tmp_path / name] if whose.startswith("--") else ["--set", "data.source=mnist"]
    if not whose.startswith("--"):
        monkeypatch.setenv(whose, str(tmp_path / name))
    done = here("tune", write(tmp_path), "--backend", "inline", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert "in the path is longer than 255 bytes" in done.stderr or "the path holds the character" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


@pytest.mark.parametrize(
    "arguments",
    [
        [LONG],
        [f"--{LONG}"],
        ["tune", "x.yaml", f"--{LONG}"],
        ["tune", "x.yaml", "--max-concurrent", LONG],
        ["tune", "x.yaml", "--profile", LONG],
        ["tune", LONG],
        ["tune", "x.yaml", "--score", "\x1b[31m" * 1000],
        ["tune", "x.yaml", "--address", LONG],
        ["tune", "x.yaml", "--tracking", LONG],
        ["tune", "x.yaml", "--cluster", LONG],
        ["show", LONG],
        ["show", "~nobody/x"],
        ["table", LONG],
        ["train", "x.yaml", "--stage", LONG],
        ["plan", "x.yaml", "--results", LONG, "--address", "\x1b[31m"],
    ],
    ids=lambda arguments: " ".join(arguments)[:40],
)
def test_what_is_long_or_controls_a_terminal_is_not_echoed_whole(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = here(*arguments)
    assert done.returncode == 2
    assert len(done.stderr) < 4000  # a message of 2,000 in a frame
    assert "Traceback" not in done.stderr
    assert done.stderr.replace("\n", "").isprintable()


def test_the_version_is_the_package_s() -> None:
    done = here("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"raysl {package.__version__}\n", "")


@pytest.mark.parametrize("arguments", [[], ["tune"]])
def test_help_is_short_too(arguments: list[str]) -> None:
    short, long = here(*arguments, "-h"), here(*arguments, "--help")
    assert (short.returncode, short.stdout) == (0, long.stdout)
    assert "--help" in short.stdout
