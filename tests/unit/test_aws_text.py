"""Key id, secret and token of S3: what people's pasting has made of them."""

from pathlib import Path

import pytest

from tests.fixtures.aws_home import (
    ENV,
    ID,
    OTHERS,
    SECRET,
    TOKEN,
    at_home,
    examined,
    profile,
    refusal,
)

TEMPORARY = {"AWS_ACCESS_KEY_ID": f"ASIA{ID[4:]}", "AWS_SESSION_TOKEN": TOKEN}


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"AWS_ACCESS_KEY_ID": f"{ID} "}, "AWS_ACCESS_KEY_ID in {} has spaces around it", "anew"),
        ({"AWS_ACCESS_KEY_ID": f" {ID}"}, "AWS_ACCESS_KEY_ID in {} has spaces around it", "anew"),
        ({"AWS_ACCESS_KEY_ID": f"{ID}\n"}, "AWS_ACCESS_KEY_ID in {} has a line end in it", "anew"),
        ({"AWS_ACCESS_KEY_ID": f'"{ID}"'}, "AWS_ACCESS_KEY_ID in {} has quotes around it", "anew"),
        (
            {"AWS_ACCESS_KEY_ID": ID[:-1]},
            "AWS_ACCESS_KEY_ID in {} is 19 characters, not in the shape of Amazon's",
            "AKIA or ASIA and 16 more",
        ),
        (
            {"AWS_ACCESS_KEY_ID": f"AROA{ID[4:]}"},
            "AWS_ACCESS_KEY_ID in {} is the id of a role, not of a key",
            "AKIA or ASIA and 16 more",
        ),
        (
            {"AWS_ACCESS_KEY_ID": SECRET, "AWS_SECRET_ACCESS_KEY": ID},
            "key id and secret in {} are swapped",
            "exchange AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        (
            {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE"},
            "the key in {} is the example of Amazon's documents",
            "aws iam create-access-key",
        ),
        (
            {"AWS_ACCESS_KEY_ID": TEMPORARY["AWS_ACCESS_KEY_ID"]},
            "AWS_ACCESS_KEY_ID in {} is temporary (ASIA), and AWS_SESSION_TOKEN is missing",
            "set all three anew",
        ),
        (
            {"AWS_SECRET_ACCESS_KEY": f"{SECRET}\n"},
            "AWS_SECRET_ACCESS_KEY in {} has a line end in it",
            "anew",
        ),
        (
            {"AWS_SECRET_ACCESS_KEY": f"'{SECRET}'"},
            "AWS_SECRET_ACCESS_KEY in {} has quotes around it",
            "anew",
        ),
        (
            {"AWS_SECRET_ACCESS_KEY": f"{SECRET} "},
            "AWS_SECRET_ACCESS_KEY in {} has spaces around it",
            "anew",
        ),
        (
            {"AWS_SECRET_ACCESS_KEY": f"{SECRET[:9]} {SECRET[10:]}"},
            "AWS_SECRET_ACCESS_KEY in {} has spaces in it",
            "anew",
        ),
        (
            {"AWS_SECRET_ACCESS_KEY": SECRET.replace("/", "%2F")},
            "AWS_SECRET_ACCESS_KEY in {} is percent-encoded, as in an address",
            "+ and / as they are",
        ),
        (
            {"AWS_SECRET_ACCESS_KEY": SECRET + "é"},
            "AWS_SECRET_ACCESS_KEY in {} has a character that no request can carry",
            "anew",
        ),
        (
            TEMPORARY | {"AWS_SESSION_TOKEN": f"{TOKEN}\n"},
            "AWS_SESSION_TOKEN in {} has a line end in it",
            "anew",
        ),
        (
            TEMPORARY | {"AWS_SECURITY_TOKEN": f"{TOKEN}\r\n"},
            "AWS_SECURITY_TOKEN in {} has a line end in it",
            "anew",
        ),
        (
            TEMPORARY | {"AWS_CREDENTIAL_EXPIRATION": "2026-03-01T11:00:00Z"},
            "the temporary credentials in {} expired at 2026-03-01T11:00:00Z",
            "fetch new ones",
        ),
    ],
)
def test_texts_from_the_environment(changes: dict[str, str], message: str, hint: str) -> None:
    said, fix = refusal(ENV | changes)
    assert said == message.format("the environment")
    assert hint in fix


def test_temporary_ones_that_still_hold() -> None:
    (found,) = examined(ENV | TEMPORARY | {"AWS_CREDENTIAL_EXPIRATION": "2026-03-01T13:00:00Z"})
    assert found[0] == "pass"


@pytest.mark.parametrize(
    ("more", "ends"),
    [
        ({"x_security_token_expires": "2026-03-01T12:30:00+01:00"}, "2026-03-01T11:30:00Z"),
        ({"expiration": "2026-02-28 12:00:00"}, "2026-02-28T12:00:00Z"),
    ],
)
def test_expired_in_a_file(tmp_path: Path, more: dict[str, str], ends: str) -> None:
    text = profile(aws_session_token=TOKEN, **more).replace("AKIA", "ASIA")
    message, _ = refusal(at_home(tmp_path, text))
    where = f"profile default in {tmp_path}/.aws/credentials"
    assert message == f"the temporary credentials in {where} expired at {ends}"


def test_quotes_in_a_file(tmp_path: Path) -> None:
    text = f'[default]\naws_access_key_id = "{ID}"\naws_secret_access_key = "{SECRET}"\n'
    message, _ = refusal(at_home(tmp_path, text))
    where = f"profile default in {tmp_path}/.aws/credentials"
    assert message == f"aws_access_key_id in {where} has quotes around it"


def test_other_vendors_have_other_shapes() -> None:
    other = {"AWS_ACCESS_KEY_ID": "GK31c2f218a2e44f485b94239e", "AWS_SECRET_ACCESS_KEY": "b%2Fc d"}
    levels = [level for level, *_ in examined(other, OTHERS)]
    assert levels == ["pass", "warn", "warn"]
    assert examined(other)[0][0] == "fail"
    assert examined(other | {"AWS_ENDPOINT_URL_S3": "https://s3.example.org"})[0][0] == "pass"
    assert refusal(other | {"AWS_ACCESS_KEY_ID": "a b"}, OTHERS)[0] == (
        "AWS_ACCESS_KEY_ID in the environment has spaces in it"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"AWS_SECRET_ACCESS_KEY": SECRET[:-1]}, "is 39 characters; Amazon's have 40"),
        ({"AWS_SESSION_TOKEN": TOKEN}, "is permanent (AKIA), and yet AWS_SESSION_TOKEN is set"),
    ],
)
def test_doubts_do_not_stop(changes: dict[str, str], message: str) -> None:
    first, second = examined(ENV | changes)
    assert (first[0], second[0]) == ("pass", "warn")
    assert message in second[1]
