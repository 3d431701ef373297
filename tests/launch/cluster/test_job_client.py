"""A job's log, told once though it is read again after each break."""

import pytest

from raysl.launch.cluster.job_client import _Log


@pytest.mark.parametrize("breaks", [[], [2], [1, 3], [0, 0, 4]])
def test_a_log_is_told_once_however_often_it_is_read_anew(breaks: list[int]) -> None:
    parts = ["first\nsec", "ond\n", "third\n", "fourth\n"]
    told: list[str] = []
    log = _Log(told.append)
    for end in [*breaks, len(parts)]:
        log.begin()
        for part in parts[:end]:
            log.add(part)
    log.begin()
    log.add("".join(parts) + "last\n")
    assert "".join(told) == "first\nsecond\nthird\nfourth\nlast\n"
    assert all(told)
