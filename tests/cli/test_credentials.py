"""Credentials as the command line meets them: found, refused, told of, and never shown."""

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from tests.fixtures import command
from tests.fixtures import google_keys as made
from tests.fixtures.command import Ran, Site

NOWHERE = "http://127.0.0.1:9"  # refuses every connection
GS = f"gs://shop-backups/here?endpoint={NOWHERE}"
S3 = f"s3://shop-backups/here?endpoint={NOWHERE}"
AMAZON = "s3://shop-backups/here"
ID = "AKIAQ3EGRRKPWHZTT7XN"
SECRET = "cAnArY/" + "s3cr3tOfAws+" * 2 + "9/zWd8Qv1"
TOKEN = "cAnArYt0kenOfASession//" + "qW3rTy+" * 6
PASSWORD = "cAnArYpassw0rd-in-an-address"
BEARER = "ya29.cAnArY-bearer-token-0123456789"
FORMATS = ((), ("--json",), ("--verbose",), ("--log-format", "json"), ("--quiet",))
COMMANDS = ("list", "backup", "doctor")
TURNS = cycle(FORMATS)


def at(site: Site, store: str, **variables: str) -> Site:
    """The policy's own store is another now."""
    lines = site.policy.read_text().splitlines()
    changed = [f"  store: {store}" if re.match(r"  store: ", line) else line for line in lines]
    site.policy.write_text("\n".join(changed) + "\n")
    return replace(site, variables={"AWS_EC2_METADATA_DISABLED": "true"} | variables)


def with_key(site: Site, data: bytes, store: str = GS) -> Site:
    path = site.home / "key.json"
    path.touch(0o600)
    path.write_bytes(data)
    return at(site, store, GOOGLE_APPLICATION_CREDENTIALS=str(path))


def checks(ran: Ran) -> list[tuple[str, str]]:
    (policy,) = ran.document["policies"]
    return [(check["what"], check["level"]) for check in policy["checks"]]


# --- doctor


def test_a_folder_needs_none(fresh: Site) -> None:
    ran = fresh.ok("doctor", "shop", "--only", "credentials")
    assert f"pass  credentials   {fresh.store} needs none" in ran.out
    assert "1 pass, 0 warn, 0 fail" in ran.out


def test_the_users_own_case(fresh: Site) -> None:
    site = with_key(fresh, made.broken("69 characters"))
    said = (
        f"private_key in {site.home}/key.json is 69 characters; a 2048-bit key has about 1700: "
        "it has BEGIN but no END"
    )
    hint = (
        "it was cut at a line break (env file, shell read, YAML): store the JSON as a file, "
        "or base64"
    )
    ran = site("doctor", "--only", "credentials")
    assert ran.code == 3
    assert f"fail  credentials   gs://shop-backups/here: {said}\n" in ran.out
    assert f"fix: {hint}\n" in ran.out
    ran = site("list")
    assert ran.code == 3
    assert f"drkit: error: {said}\ndrkit: hint: {hint}\n" in ran.err
    ran = site("backup", "--json")
    assert ran.code == 3
    assert said in ran.err


def test_a_whole_key_is_shown_by_what_is_public_and_then_tried(fresh: Site) -> None:
    site = with_key(fresh, made.file(token_uri=f"{NOWHERE}/token"))
    ran = site("doctor", "--only", "credentials", "--json")
    assert checks(ran) == [("credentials", "pass"), ("access", "fail")]
    assert ran.code == 5
    first = ran.document["policies"][0]["checks"][0]["message"]
    assert first.startswith(f"gs://shop-backups/here: {made.EMAIL}, key {made.KEY_ID}, sha256 ")
    assert first.endswith(f", from {site.home}/key.json")


def test_keys_of_s3_are_shown_by_their_ends_and_then_tried(fresh: Site) -> None:
    site = at(fresh, S3, AWS_ACCESS_KEY_ID=ID, AWS_SECRET_ACCESS_KEY=SECRET)
    ran = site("doctor", "--only", "credentials")
    assert ran.code == 5
    assert "s3://shop-backups/here: key id AKIA…T7XN, from the environment" in ran.out
    assert "  fail  access " in ran.out


def test_nobody_is_asked_while_credentials_are_broken(fresh: Site) -> None:
    site = at(fresh, AMAZON, AWS_ACCESS_KEY_ID=f"{ID}\n", AWS_SECRET_ACCESS_KEY=SECRET)
    assert checks(site("doctor", "--only", "credentials", "--json")) == [("credentials", "fail")]
    whole = checks(site("doctor", "--json"))
    assert ("credentials", "fail") in whole
    assert "store" not in dict(whole)


# --- copies


def copied(site: Site, *copies: str) -> Site:
    text = site.policy.read_text()
    listed = "".join(f"    - {copy}\n" for copy in copies)
    site.policy.write_text(re.sub(r"(?m)^(  store: .*\n)", rf"\1  copies:\n{listed}", text))
    return site


def test_every_copy_is_looked_at(shop: Site) -> None:
    site = copied(shop, f"file://{shop.home}/second", GS)
    assert checks(site("doctor", "--only", "credentials", "--json")) == [
        ("credentials", "pass"),
        ("credentials", "pass"),
        ("credentials", "pass"),
        ("access", "fail"),
    ]


def test_a_copy_that_is_not_there_yet_and_one_of_another_repository(
    shop: Site, tmp_path: Path
) -> None:
    other = Site(home=tmp_path / "other")
    other.data.mkdir(parents=True)
    (other.data / "file").write_text("content\n")
    other.init()
    second = tmp_path / "second"
    second.mkdir()
    copied(shop, f"file://{second}", f"file://{other.store}")
    ran = shop("doctor")
    assert ran.code == 5
    assert f"warn  copy          file://{second} holds no repository yet" in ran.out
    assert f"fail  copy          file://{other.store} holds another repository" in ran.out


# --- nothing secret is shown


def forms(secret: str) -> set[str]:
    data = secret.encode()
    return {
        secret,
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        base64.b64encode(data).decode().rstrip("="),
        base64.urlsafe_b64encode(data).decode().rstrip("="),
        data.hex(),
    }


def windows(text: str) -> set[str]:
    return {text[i : i + 20] for i in range(len(text) - 19)}


BODY = windows("".join(made.pem().strip().split("\n")[1:-1]))
CANARIES = {form for secret in (SECRET, TOKEN, PASSWORD, BEARER) for form in forms(secret)}
PIECES = BODY | {piece for form in CANARIES for piece in windows(form)}


def left_behind(site: Site, planted: Path | None) -> Iterator[str]:
    for folder in (site.state, site.home / "policies"):
        for path in folder.rglob("*"):
            if path.is_file() and path != planted:
                yield path.read_bytes().decode("latin-1")


def assert_silent(ran: Ran, site: Site, planted: Path | None = None) -> None:
    """`planted`: the one file that holds it because the test has put it there."""
    for text in (ran.out, ran.err, *left_behind(site, planted)):
        for seen in (text, re.sub(r"\s|\\+[nr]", "", text)):
            assert windows(seen).isdisjoint(PIECES), ran


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Set up once: these tests change its policy's store, and nothing else gets that far."""
    return command.site(tmp_path_factory.mktemp("ground"), backup=False)


def run_all(site: Site, store: str, home: Path, *, planted: Path | None = None) -> None:
    """Each command, the forms of output taken in turns; init in a home of its own."""
    for words in FORMATS[1:4]:
        ran = site("doctor", "--only", "credentials", *words)
        assert ran.code in {3, 5}, ran
        assert_silent(ran, site, planted)
    for name in COMMANDS:
        ran = site(name, *next(TURNS))
        assert ran.code in {3, 5}, ran
        assert_silent(ran, site, planted)
    new = replace(site, home=home)
    where = ("--files", site.data, "--store", store, "--identities-to", "keys")
    ran = new("init", "new", "--non-interactive", *where, *next(TURNS))
    assert ran.code in {2, 3, 5}, ran
    assert_silent(ran, new, planted)


@pytest.mark.parametrize(
    "text",
    [
        made.pem()[:100],
        made.pem().replace("\n", "\\n")[:100],
        quote_plus(SECRET),
        TOKEN[:24],
        base64.b64encode(PASSWORD.encode()).decode(),
    ],
    ids=range(5),  # not by keys that are made anew each time
)
def test_what_is_looked_for_would_be_found(ground: Site, tmp_path: Path, text: str) -> None:
    """A test of the test."""
    fine = Ran(code=3, out="said", err="")
    assert_silent(fine, ground)
    with pytest.raises(AssertionError):
        assert_silent(replace(fine, err=f"error: {text}: is none"), ground)
    leaky = replace(ground, home=tmp_path)
    (tmp_path / "state").mkdir()
    (tmp_path / "state/log").write_text(text)
    with pytest.raises(AssertionError):
        assert_silent(fine, leaky)


@pytest.mark.parametrize("name", made.BROKEN)
def test_no_broken_key_is_shown(ground: Site, tmp_path: Path, name: str) -> None:
    run_all(with_key(ground, made.broken(name)), GS, tmp_path)


@pytest.mark.parametrize("name", made.SPOILT)
def test_no_spoilt_file_is_shown(ground: Site, tmp_path: Path, name: str) -> None:
    run_all(with_key(ground, made.SPOILT[name]()), GS, tmp_path)


@pytest.mark.parametrize(
    "value",
    [
        made.file().decode(),
        made.pem(),
        base64.b64encode(made.file()).decode(),
        "".join(made.pem().split("\n")[2:4]).replace("/", "+"),
        BEARER,
    ],
)
def test_no_key_is_shown_in_place_of_its_path(ground: Site, tmp_path: Path, value: str) -> None:
    run_all(at(ground, GS, GOOGLE_APPLICATION_CREDENTIALS=value), GS, tmp_path)


KEY = {"AWS_ACCESS_KEY_ID": ID, "AWS_SECRET_ACCESS_KEY": SECRET}


@pytest.mark.parametrize(
    "changes",
    [
        {"AWS_SESSION_TOKEN": f"{TOKEN}\n"},
        {"AWS_SECRET_ACCESS_KEY": f"{SECRET}\n"},
        {"AWS_SECRET_ACCESS_KEY": f"'{SECRET}'"},
        {"AWS_SECRET_ACCESS_KEY": quote_plus(SECRET)},
        {"AWS_ACCESS_KEY_ID": SECRET, "AWS_SECRET_ACCESS_KEY": ID},
        {"AWS_ACCESS_KEY_ID": f"{SECRET}\n"},
        {"AWS_ACCESS_KEY_ID": ""},
        {"AWS_ENDPOINT_URL_S3": f"http://user:{PASSWORD}@127.0.0.1:9", "AWS_ACCESS_KEY_ID": ""},
        {"AWS_DEFAULT_REGION": SECRET},
    ],
)
def test_no_secret_of_s3_is_shown(ground: Site, tmp_path: Path, changes: dict[str, str]) -> None:
    run_all(at(ground, AMAZON, **KEY | changes), AMAZON, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        f"aws_secret_access_key = {SECRET}\n",
        f"[default]\n{SECRET}\n",
        f"[default]\naws_secret_access_key = {SECRET}\naws_secret_access_key = {SECRET}\n",
        f"[default]\naws_access_key_id = {ID}\naws_secret_access_key = '{SECRET}'\n",
        f"[default]\ns3 =\n  {SECRET}\n",
    ],
)
def test_no_line_of_a_credentials_file_is_shown(ground: Site, tmp_path: Path, text: str) -> None:
    site = at(ground, AMAZON)
    (tmp_path / "credentials").write_text(text)
    named = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials")}
    run_all(replace(site, variables=site.variables | named), AMAZON, tmp_path)


@pytest.mark.parametrize(
    "store",
    [
        f"s3://user:{PASSWORD}@shop-backups/here",
        f"s3://shop-backups/here?endpoint=http://user:{PASSWORD}@127.0.0.1:9",
        f"gs://shop-backups/here?endpoint=http://user:{PASSWORD}@127.0.0.1:9",
        f"s3://shop-backups/here?token={TOKEN}",
        f"gs://shop-backups/here?credentials={BEARER}",
        f"gs://user:{PASSWORD}@shop-backups",
    ],
)
def test_of_an_address_only_its_bucket_is_shown(ground: Site, tmp_path: Path, store: str) -> None:
    site = at(ground, store, **KEY)
    run_all(site, store, tmp_path, planted=site.policy)


def test_a_sound_key_is_not_shown_while_it_is_used(ground: Site) -> None:
    site = with_key(ground, made.file(token_uri=f"{NOWHERE}/token"))
    for words in FORMATS[1:4]:
        assert_silent(site("doctor", "--only", "credentials", *words), site)
    keys = at(site, S3, **KEY, AWS_SESSION_TOKEN=TOKEN)
    for words in FORMATS[1:4]:
        assert_silent(keys("doctor", "--only", "credentials", *words), keys)


def test_the_documents_of_json_say_the_same(fresh: Site) -> None:
    site = with_key(fresh, made.broken("null"))
    ran = site("doctor", "--only", "credentials", "--json")
    (check,) = ran.document["policies"][0]["checks"]
    assert check["exit_code"] == 3
    assert check["message"].endswith("private_key in " + str(site.home / "key.json") + " is null")
    assert json.loads(ran.out)["policies"][0]["policy"] == "shop"
