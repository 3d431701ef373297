"""Secrets in the forms in which servers, libraries and tracebacks repeat them."""

import html
import json
import shlex
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from raysl.outgoing import holds_secret, learn, learn_address, learn_credentials, mask
from raysl.results.storage.store import Store

FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "repr": repr,
    "repr of a repr": lambda secret: repr({"message": repr(secret)}),
    "bytes": lambda secret: repr(secret.encode()),
    "json": json.dumps,
    "json in unicode": lambda secret: json.dumps(secret, ensure_ascii=False),
    "html": html.escape,
    "shell": shlex.quote,
    "quoted": quote,
    "all quoted": lambda secret: quote(secret, safe=""),
    "quoted in lower case": lambda secret: "".join(f"%{byte:02x}" for byte in secret.encode()),
    "quoted twice": lambda secret: quote(quote(secret, safe=""), safe=""),
    "quoted as a form": quote_plus,
    "numbers in html": lambda secret: "".join(f"&#{ord(character)};" for character in secret),
    "authorization": lambda secret: b64encode(f"alice:{secret}".encode()).decode(),
    "authorization in latin-1": lambda secret: b64encode(f"alice:{secret}".encode("latin-1")).decode(),
    "authorization of a token": lambda secret: b64encode(f"{secret}:".encode()).decode(),
    "base64 for addresses": lambda secret: urlsafe_b64encode(f"alice:{secret}".encode()).decode(),
    "base64 of a text": lambda secret: b64encode(f"GET http://alice:{secret}@host/".encode()).decode(),
    "hex": lambda secret: secret.encode().hex(),
}
SECRETS = ("s3cretpw", "p@ss/w?rd#1", "quo'te\"d\\pw", "with space+plus", "pässwörd€"[:8], "AKIA/abc+def=")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_masked_in_every_form(form: str, secret: str) -> None:
    learn(secret, "alice")
    written = FORMS[form](secret)
    shown = mask(f"said: <{written}> (500)")
    assert "***" in shown
    assert written.strip("'\"") not in shown
    assert secret not in shown
    assert shown.startswith("said: <")
    assert shown.endswith("> (500)")


@pytest.mark.parametrize(
    "name",
    [
        "MLFLOW_TRACKING_PASSWORD",
        "MLFLOW_TRACKING_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "RAY_AUTH_TOKEN",
        "GITHUB_TOKEN",
        "PGPASSWORD",
        "MYSQL_PWD",
    ],
)
def test_what_the_environment_holds_is_masked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "s3cretpw")
    assert mask("said s3cretpw") == "said ***"
    monkeypatch.delenv(name)
    assert mask("said s3cretpw") == "said s3cretpw"


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_URI", "HTTPS_PROXY", "AWS_ENDPOINT_URL"])
def test_addresses_of_the_environment_are_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "http://alice:s3cretpw@host")
    assert mask("said s3cretpw") == "said ***"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOKENIZERS_PARALLELISM", "digits"),
        ("AWS_SHARED_CREDENTIALS_FILE", "digits"),
        ("RAY_AUTH_MODE", "digits"),
        ("SSH_KEY", "/etc"),
        ("NUM_TOKEN", "100000"),
        ("PWD", "/digits"),
    ],
)
def test_variables_that_hold_no_secret_mask_nothing(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert mask(f"{value} in digits, /etc/passwd") == f"{value} in digits, /etc/passwd"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://bob:other@host/a: refused", "http://***@host/a: refused"),
        ("Location: https://t0ken@host/a", "Location: https://***@host/a"),
        ("url: /login?access_token=abc&page=2 (302)", "url: /login?access_token=***&page=2 (302)"),
        ("{'Authorization': 'Basic YTpi'}", "{'Authorization': 'Basic ***'}"),
        ("Set-Cookie: session=abc; Path=/", "Set-Cookie: ***"),
        ("https://b.s3.amazonaws.com/k?X-Amz-Signature=ab12&x=1", "https://b.s3.amazonaws.com/k?X-Amz-Signature=***&x=1"),
        ("DRIVER=X;PWD=abc;SERVER=h", "DRIVER=X;PWD=***;SERVER=h"),
    ],
)  # fmt: skip
def test_what_stands_where_secrets_do_is_masked_whoever_s_it_is(text: str, shown: str) -> None:
    assert mask(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "| 0.1 | 123456 | 1.5e-3 ± 0.01 |",
        "optimizer.lr=0.01, epochs=5, method.num_tokens=8; batch_size=32",
        "http://127.0.0.1:5000/a@b, gs://anonymous@bucket/a, abfs://container@account/a",
        '{"seed": 0, "num_parameters": 123456}',
        "s3://bucket/results/{trials,curves}.arrow",
        "another search (host, pid 12) is on this folder",
    ],
)
def test_tables_numbers_and_places_stay(text: str) -> None:
    for secret in ("1", "0.1", "ab", "32"):
        learn(secret, "alice")
    learn_address("http://alice:5@host")
    assert mask(text) == text


def test_short_secrets_are_masked_where_they_are_words() -> None:
    learn("abc")
    learn("42")
    assert mask("abc, abcd http://u:42@h 42 'abc'") == "***, abcd http://***@h 42 '***'"


@pytest.mark.parametrize(
    "piece",
    ["a.", "a://", "a://b:", "a://b:c@", "%25", "\\", "&#0", "?a", ";pwd", "cookie: ", "@", "s3cretpv", "czNjcmV0"],
)
def test_a_long_text_takes_no_longer_than_its_length(piece: str) -> None:
    learn("s3cretpw\\%&", "alice")
    began = time.process_time()
    mask(f"://={piece * 20_000}")
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("name", "holds"),
    [
        *[(f"AWS_{end}", True) for end in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "SECURITY_TOKEN")],
        ("WANDB_API_KEY", True),
        ("MLFLOW_TRACKING_PASSWORD", True),
        ("AWS_DEFAULT_REGION", False),
        ("AWS_SHARED_CREDENTIALS_FILE", False),
        ("PL_DISABLE_FORK", False),
        ("TUNE_GLOBAL_CHECKPOINT_S", False),
    ],
)
def test_a_variable_holds_a_secret_by_its_name(name: str, holds: bool) -> None:
    assert holds_secret(name) is holds


CREDENTIALS = """\
[default]
aws_access_key_id = AKIAOFTHEFILE0000001
[minio]
aws_secret_access_key = %percent-of-the-file
region = us-east-1
"""


def test_keys_of_a_credentials_file_are_masked_once_they_open_a_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "credentials").write_text(CREDENTIALS)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    text = "AKIAOFTHEFILE0000001 and %percent-of-the-file in us-east-1"
    Store(str(tmp_path))
    assert mask(text) == text
    Store("s3://bucket/results?region=us-east-1")
    assert mask(text) == "*** and *** in us-east-1"


@pytest.mark.parametrize("content", ["no section", "[default]\n[default]\n", "\xff\xfe", None])
def test_a_credentials_file_that_cannot_be_read_is_left_alone(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "credentials").write_text(content, encoding="latin-1")
    learn_credentials(str(tmp_path / "credentials"), ["aws_secret_access_key"])
    assert mask("default section") == "default section"
