"""Standard output that takes nothing more: one message, or none where its reader has gone, and exit code 1."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FULL = "error: standard output: No space left on device\n"


def ended(code: str, stdout: object, unbuffered: str) -> tuple[int, str]:
    """Run some Python inside `whole_output`; return its exit code and what it complained of."""
    program = f"import sys\nfrom raysl.console.output import whole_output, write\nwith whole_output():\n    {code}\n"
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdout=stdout,  # type: ignore[call-overload]
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        cwd=Path(__file__).parents[2],
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "code",
    [
        "print('x')",
        "write('x')",
        "sys.exit(print('x'))",
        "from raysl.reports.command import execute, say; execute(lambda _: say('x'), [])",
    ],
)
def test_output_that_is_full_or_unread(code: str, unbuffered: str) -> None:
    with open("/dev/full", "w") as full:
        assert ended(code, full, unbuffered) == (1, FULL)
    reader, writer = os.pipe()
    os.close(reader)
    assert ended(code, writer, unbuffered) == (1, "")
    os.close(writer)


def test_other_errors_are_not_taken_for_its_own() -> None:
    code, complaint = ended("raise OSError(28, 'No space left on device')", subprocess.DEVNULL, "")
    assert (code, complaint.splitlines()[0]) == (1, "Traceback (most recent call last):")
    with open("/dev/full", "w") as full:
        code, complaint = ended("open('/dev/full/x')", full, "")
    assert complaint.splitlines()[-1] == "NotADirectoryError: [Errno 20] Not a directory: '/dev/full/x'"


def test_output_that_is_closed() -> None:
    program = "from raysl.console.output import whole_output\nwith whole_output():\n    print('x')"
    script = f'exec "{sys.executable}" -c "$1" >&- 2>&-'
    assert (
        subprocess.run(["sh", "-c", script, "sh", program], cwd=Path(__file__).parents[2], check=False).returncode == 0
    )
