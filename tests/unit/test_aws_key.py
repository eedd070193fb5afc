"""What botocore would use for S3, and whether it is whole, before any request."""

import hashlib
import json
from pathlib import Path

import pytest

from drkit.stores.aws.key import checked_session
from drkit.stores.base import Settings
from tests.fixtures.aws_home import (
    ENV,
    ID,
    OTHERS,
    SECRET,
    SYSTEM,
    TOKEN,
    at_home,
    examined,
    profile,
    refusal,
)
from tests.fixtures.forked_call import forked_call

# --- found


def test_the_environment_goes_first(tmp_path: Path) -> None:
    home = at_home(tmp_path, profile())
    (found,) = examined(home | ENV)
    assert found[:2] == ["pass", "key id AKIA…T7XN, from the environment"]
    (found,) = examined(home)
    assert found[:2] == [
        "pass",
        f"key id AKIA…T7XN, from profile default in {tmp_path}/.aws/credentials",
    ]


def test_a_profile_that_is_asked_for_goes_before_the_environment(tmp_path: Path) -> None:
    home = at_home(tmp_path, profile("other"))
    (found,) = examined(home | ENV, {"profile": "other"})
    assert "profile other in" in found[1]
    (found,) = examined(home | ENV | {"AWS_PROFILE": "other"})
    assert "the environment" in found[1]


def test_the_config_file_holds_keys_too(tmp_path: Path) -> None:
    home = at_home(tmp_path, config=profile("profile other"))
    (found,) = examined(home | {"AWS_PROFILE": "other"})
    assert found[:2] == ["pass", f"key id AKIA…T7XN, from profile other in {tmp_path}/.aws/config"]


def test_the_session_is_what_was_checked(tmp_path: Path) -> None:
    def ask() -> list[str | None]:
        session = checked_session({"profile": "other", "region": "eu-west-1"}, Settings(), SYSTEM)
        credentials = session.get_credentials()
        assert credentials is not None
        return [session.profile_name, session.region_name, credentials.access_key]

    home = at_home(tmp_path, profile("other"))
    assert forked_call(ask, **home) == ["other", "eu-west-1", ID]


def test_short_ids_are_not_shown_at_all() -> None:
    (found,) = examined({"AWS_ACCESS_KEY_ID": "minioadmin", "AWS_SECRET_ACCESS_KEY": "x"}, OTHERS)
    assert found[:2] == ["pass", "a key id of 10 characters, from the environment"]


def test_none_at_all(tmp_path: Path) -> None:
    message, hint = refusal({"HOME": str(tmp_path)})
    assert message == (
        f"no AWS credentials: none in the environment, nor for profile default in "
        f"{tmp_path}/.aws/credentials or {tmp_path}/.aws/config, and this is no machine of Amazon's"
    )
    assert hint.startswith("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write both to")


@pytest.mark.parametrize(
    ("variables", "config", "said"),
    [
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/x", "AWS_ROLE_ARN": "a"}, "", "by a web identity"),
        ({"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/x"}, "", "by this container"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.2"}, "", "by this container"),
        ({}, "[default]\nrole_arn = a\nsource_profile = b\n", "by a role that is assumed"),
        ({}, "[default]\ncredential_process = /bin/false\n", "by a command (credential_process)"),
        (
            {
                "AWS_EC2_METADATA_DISABLED": "",
                "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://[::1]:9",
            },
            "",
            "by the machine's role",
        ),
    ],
)
def test_what_asks_the_network_is_left_alone(
    tmp_path: Path, variables: dict[str, str], config: str, said: str
) -> None:
    (found,) = examined(at_home(tmp_path, config=config) | variables)
    assert found[0] == "pass"
    assert found[1].startswith(f"given {said}")
    assert found[1].endswith("only a request tells whether they are right")


# --- halves


@pytest.mark.parametrize(
    ("variables", "credentials", "message"),
    [
        (
            {"AWS_ACCESS_KEY_ID": ID},
            "",
            "AWS_ACCESS_KEY_ID is set, AWS_SECRET_ACCESS_KEY is missing",
        ),
        (
            {},
            f"[default]\naws_access_key_id = {ID}\n",
            "profile default in {}/credentials has aws_access_key_id, but no aws_secret_access_key",
        ),
        (
            {},
            f"[default]\naws_secret_access_key = {SECRET}\n",
            (
                "profile default in {0}/credentials or {0}/config has aws_secret_access_key, "
                "but no aws_access_key_id"
            ),
        ),
        (
            {},
            "[default]\nrole_arn = x\n",
            "profile default has role_arn, but neither source_profile nor credential_source",
        ),
    ],
)
def test_one_half_is_missing(
    tmp_path: Path, variables: dict[str, str], credentials: str, message: str
) -> None:
    said, hint = refusal(at_home(tmp_path, credentials) | variables)
    assert said == message.format(tmp_path / ".aws")
    assert hint


def test_a_secret_alone_in_the_environment_is_told(tmp_path: Path) -> None:
    first, second = examined({"HOME": str(tmp_path), "AWS_SECRET_ACCESS_KEY": SECRET})
    assert first[:2] == ["warn", "AWS_SECRET_ACCESS_KEY is set, AWS_ACCESS_KEY_ID is missing"]
    assert second[0] == "fail"


# --- files, profiles, sso


@pytest.mark.parametrize("options", [{}, {"profile": "shop"}])
def test_no_such_profile_names_those_there_are(tmp_path: Path, options: dict[str, str]) -> None:
    home = at_home(tmp_path, profile("one"), "[profile two]\nregion = eu-west-1\n")
    message, hint = refusal(home | ({} if options else {"AWS_PROFILE": "shop"}), options)
    folder = tmp_path / ".aws"
    assert message == f"no profile is called 'shop' in {folder}/credentials or {folder}/config"
    assert hint.startswith("known: one, two;")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (f"aws_secret_access_key = {SECRET}\n", ": line 1"),
        (f"[default]\n{SECRET}\n", ": line 2"),
        (profile() + "[default]\n", ": line 4, a profile stands there twice"),
        (profile() + f"aws_secret_access_key = {SECRET}\n", ": line 4"),
        (f"[default]\ns3 =\n  {SECRET}\n", ": a line below an empty setting has no ="),
    ],
)
def test_a_file_that_cannot_be_parsed(tmp_path: Path, text: str, where: str) -> None:
    message, hint = refusal(at_home(tmp_path, text))
    assert message == f"{tmp_path}/.aws/credentials can't be parsed{where}"
    assert "[profiles]" in hint


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    home = at_home(tmp_path, profile())
    (tmp_path / ".aws/config").write_bytes(b"[default]\n\xff")
    assert refusal(home)[0] == f"{tmp_path}/.aws/config can't be parsed: no text at byte 10"


def test_a_file_that_others_read_is_a_warning(tmp_path: Path) -> None:
    home = at_home(tmp_path, profile())
    path = tmp_path / ".aws/credentials"
    path.chmod(0o644)
    first, second = examined(home)
    assert (first[0], second[0]) == ("pass", "warn")
    assert second[1] == f"{path} can be read by other users of this machine (mode 0644)"
    assert second[2] == f"chmod 600 {path}"


SSO = """\
[default]
sso_session = work
sso_account_id = 1
sso_role_name = r
[sso-session work]
sso_region = eu-west-1
sso_start_url = https://x.awsapps.com/start
"""


def log_in(home: Path, **token: str) -> None:
    folder = home / ".aws/sso/cache"
    folder.mkdir(parents=True)
    name = hashlib.sha1(b"work").hexdigest()
    (folder / f"{name}.json").write_text(json.dumps({"accessToken": TOKEN} | token))


def test_sso_that_nobody_logged_in_to(tmp_path: Path) -> None:
    message, hint = refusal(at_home(tmp_path, config=SSO))
    assert message == "profile default logs in by sso, and nobody has logged in"
    assert hint.startswith("aws sso login --profile default")


def test_sso_that_expired(tmp_path: Path) -> None:
    home = at_home(tmp_path, config=SSO)
    log_in(tmp_path, expiresAt="2026-03-01T11:00:00Z")
    message, hint = refusal(home)
    assert message == "the sso login of profile default expired at 2026-03-01T11:00:00Z"
    assert hint.startswith("aws sso login --profile default")


@pytest.mark.parametrize(
    "token",
    [
        {"expiresAt": "2026-03-01T13:00:00UTC"},
        {"expiresAt": "2026-03-01T11:00:00Z", "refreshToken": TOKEN},
    ],
)
def test_sso_that_holds_or_renews(tmp_path: Path, token: dict[str, str]) -> None:
    home = at_home(tmp_path, config=SSO)
    log_in(tmp_path, **token)
    (found,) = examined(home)
    assert found[:1] == ["pass"]
    assert "by a login (sso)" in found[1]


# --- endpoint and region


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        ("s3.example.org", "the endpoint has no scheme: http or https"),
        ("localhost:9000", "the endpoint has no scheme: http or https"),
        ("ftp://s3.example.org", "the endpoint has no scheme: http or https"),
        (
            "https://shop.s3.eu-west-1.amazonaws.com",
            "the endpoint has the bucket's name in it: shop",
        ),
        ("https://s3.example.org/shop", "the endpoint has the bucket's name in it: shop"),
        ("https://shop.s3.example.org/", "the endpoint has the bucket's name in it: shop"),
        ("https://s3.example.org?a=b", "the endpoint has more behind its address than a server"),
        ("https://u:p@s3.example.org", "a password stands in the endpoint: take it out"),
        ("https://s3.example.org:port", "the endpoint is no address of a server"),
        ("https://", "the endpoint is no address of a server"),
        ("https://a b", "the endpoint is no address of a server"),
    ],
)
def test_endpoints(endpoint: str, message: str) -> None:
    said, hint = refusal(ENV, {"endpoint": endpoint})
    assert said == message
    assert "endpoint=https://" in hint or "the server alone belongs there" in hint


def test_a_server_may_be_called_like_a_bucket() -> None:
    assert examined(ENV, {"endpoint": "https://shop.example.org:9000/"})[0][0] == "pass"


@pytest.mark.parametrize(
    ("options", "variables"),
    [
        ({"region": "eu-central-1a"}, {}),
        ({"region": "Frankfurt"}, {}),
        ({}, {"AWS_DEFAULT_REGION": "eu west 1"}),
        (OTHERS | {"region": "a/b"}, {}),
    ],
)
def test_a_malformed_region(options: dict[str, str], variables: dict[str, str]) -> None:
    message, hint = refusal(ENV | variables, options)
    assert message == "the region is malformed"
    assert "region=eu-central-1" in hint


@pytest.mark.parametrize("region", ["us-gov-west-1", "ap-southeast-7", "eu-isoe-west-1"])
def test_regions_of_amazon(region: str) -> None:
    assert examined(ENV, {"region": region})[0][0] == "pass"
    assert examined(ENV, OTHERS | {"region": "garage"})[0][0] == "pass"
