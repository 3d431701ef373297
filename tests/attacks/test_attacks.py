"""Attacks of a few seconds: whatever comes in, it is accepted, or refused with one of the package's own errors.

More cases, or other ones, are had with another seed and count; a case that is at fault is a test of its own afterwards.
"""

import os
import signal
import time

import pytest
from attacks import folders, images, parquet
from attacks.workers import MEGABYTES, Outcome, outcomes

SEED = 0
COUNTS = {images: 400, parquet: 80, folders: 100}


def told(found: list[Outcome]) -> str:
    return "\n".join(f"{outcome.what}: {outcome.case!r}"[:2000] for outcome in found if outcome.is_fault)


@pytest.mark.parametrize("attack", COUNTS, ids=lambda attack: attack.__name__)
def test_nothing_but_the_packages_own_errors(attack) -> None:
    found = list(outcomes(attack.run, attack.cases(SEED, COUNTS[attack])))
    assert not told(found)
    kinds = {outcome.what for outcome in found}
    assert kinds == {"accepted", "refused"}  # an attack that is all refused attacks little


@pytest.mark.parametrize("attack", COUNTS, ids=lambda attack: attack.__name__)
def test_the_same_seed_gives_the_same_cases(attack) -> None:
    assert list(attack.cases(3, 20)) == list(attack.cases(3, 20))
    assert list(attack.cases(3, 20)) != list(attack.cases(4, 20))


def faulty(case: str) -> str:
    if case == "dies":
        os.kill(os.getpid(), signal.SIGSEGV)
    if case == "sleeps":
        time.sleep(60)
    if case == "grows":
        bytearray(b"x") * ((MEGABYTES + 50) << 20)
    return "accepted"


@pytest.mark.slow
@pytest.mark.clock
def test_deaths_delays_and_memory_are_faults_and_the_next_case_is_run() -> None:
    cases = ["well", "dies", "sleeps", "well", "grows", "well"]
    found = [outcome.what for outcome in outcomes(faulty, cases, seconds=1.5)]
    assert found[:4] == ["accepted", "the process dies (-11)", "takes more than 1.5 s", "accepted"]
    assert found[4].endswith(" MB")
    assert found[5] == "accepted"
