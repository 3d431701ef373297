"""Versions in `cluster/` are those that CI has seen, images are pinned, and nothing there is a secret."""

import math
import re
import tomllib
from collections import Counter
from collections.abc import Iterator

import pytest
from cluster_files import CLUSTER, ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SECRETS = [
    r"\b(AKIA|ASIA)[0-9A-Z]{16}\b",
    r"-----BEGIN [A-Z ]*PRIVATE KEY",
    r"\b(ghp|gho|ghs|glpat|hf|sk|xox[abp])[_-][0-9A-Za-z_-]{16,}",
    r"\bAIza[0-9A-Za-z_-]{30,}",
    r"\beyJ[0-9A-Za-z_-]{20,}",
    r"://[^/\s:@$]+:[^/\s:@$]+@",  # a password in an address
    r"(?im)(password|secret_key|secret_access_key|token)[\"']?[ \t]*[=:][ \t]*[\"']?(?!\$|~)[0-9a-z/+_-]{6,}",
]


def _files() -> Iterator[tuple[str, str]]:
    """Yield the files of `cluster/` with their texts, apart from the `.env` that users make."""
    for path in sorted(CLUSTER.rglob("*")):
        if path.is_file() and path.name != ".env" and "__pycache__" not in path.parts:
            yield path.relative_to(CLUSTER).as_posix(), path.read_text()


def _pins() -> dict[str, str]:
    pins = (pin.partition("==") for pin in PROJECT["tool"]["uv"]["constraint-dependencies"])
    return {name: version for name, _, version in pins}


def _faults(text: str) -> list[str]:
    """Return the versions in a text that are not those of pyproject.toml."""
    pins, raysl = _pins(), PROJECT["project"]["version"]
    wanted = {
        r"ray\[default\]==([\w.]+)": pins["ray"],
        r"rayVersion: (\S+)": pins["ray"],
        r"rayproject/ray:([\d.]+)-": pins["ray"],
        r"REGISTRY/raysl:(\S+)": f"{raysl}-ray{pins['ray']}",
        r"mlflow/mlflow:(\S+)": f"v{pins['mlflow']}-full",
    }
    return [
        f"{found}, not {version}"
        for form, version in wanted.items()
        for found in re.findall(form, text)
        if found != version
    ]


def _secrets(text: str) -> list[str]:
    random = [word for word in re.findall(r"[0-9A-Za-z+/=]{32,}", text) if _entropy(word) > 4.2]
    return random + [match.group() for form in SECRETS for match in re.finditer(form, text)]


def _entropy(word: str) -> float:
    """Return a word's bits per character: 4.2 and more where it is drawn at random, below 4 in file paths."""
    return -sum(n / len(word) * math.log2(n / len(word)) for n in Counter(word).values())


def test_versions_are_those_that_ci_has_seen() -> None:
    assert {name: faults for name, text in _files() if (faults := _faults(text))} == {}


def test_same_program_has_the_same_version_everywhere() -> None:
    texts = "\n".join(text for _, text in _files())
    for form in (
        r"uv[=/]=?([\d.]+\d)",
        r"boto3==([\d.]+\d)",
        r"google-api-python-client==([\d.]+\d)",
        r"postgres:([\d.]+)\n",
    ):
        assert len(set(re.findall(form, texts))) == 1, form
    assert set(re.findall(r"--python (3\.\d+)", texts)) == {"3.11"}  # a driver needs the minor version of its cluster


def test_images_are_pinned() -> None:
    images = [
        image
        for _, text in _files()
        for image in re.findall(r"(?:image: (?:&\w+ )?|^FROM )([^*\s]\S*)", text, re.MULTILINE)
    ]
    assert len(images) >= 7
    assert [image for image in images if not re.search(r":v?\d+\.\d+", image)] == []


def test_no_file_holds_a_secret() -> None:
    assert {name: found for name, text in _files() if (found := _secrets(text))} == {}


@pytest.mark.parametrize(
    "secret",
    [
        f"AWS_ACCESS_KEY_ID={'AKIA'}IOSFODNN7EXAMPLE",
        "POSTGRES_PASSWORD: hunter2hunter2",
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "postgresql://mlflow:hunter2@postgres/mlflow",
        f"-----BEGIN RSA {'PRIVATE'} KEY-----",
        "Authorization: Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
        "token: 9f86d081884c7d659a2feaa0",
    ],
)
def test_planted_secret_is_found(secret: str) -> None:
    assert _secrets(secret) != []


@pytest.mark.parametrize(
    "old",
    [
        '"ray[default]==2.59.0"',
        "rayVersion: 2.59.0",
        "FROM rayproject/ray:2.59.0-py311-gpu",
        "image: REGISTRY/raysl:0.0.9-ray2.60.0",
        "image: ghcr.io/mlflow/mlflow:v3.16.0-full",
    ],
)
def test_planted_old_version_is_found(old: str) -> None:
    assert _faults(old) != []
