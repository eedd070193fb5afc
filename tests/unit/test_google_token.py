"""Keys of Google's where they lie, loaded for use, and what is said when there is no token."""

import base64
import os
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.auth import exceptions
from google.auth.credentials import AnonymousCredentials, Credentials
from google.oauth2 import service_account

from drkit.errors import ConfigError, Exit, StoreError
from drkit.stores.base import Settings
from drkit.stores.google.key import examine_key, load_key, project_trouble, token_trouble
from drkit.system import System
from tests.fixtures import google_keys as made
from tests.fixtures.forked_call import forked_call


@pytest.fixture
def plain_folder() -> Iterator[Path]:
    """Where a user without rights may go: pytest's own folders are closed to others."""
    folder = Path("/var/tmp") / f"drkit-key-{os.getpid()}"
    folder.mkdir(mode=0o755)
    yield folder
    shutil.rmtree(folder)


def load(path: str | None, endpoint: str | None = None, variable: str | None = None) -> Credentials:
    return load_key(path, Settings(google_credentials=variable), endpoint, System())


def refused(path: str | None, variable: str | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(path, variable=variable)
    assert caught.value.exit_code == Exit.CONFIGURATION
    assert caught.value.__cause__ is None
    made.assert_silent(caught.value.message + (caught.value.hint or ""))
    return caught.value


def test_the_address_goes_before_the_variable(tmp_path: Path) -> None:
    here, there = tmp_path / "a.json", tmp_path / "b.json"
    here.write_bytes(made.file(client_email="here@x.iam.gserviceaccount.com"))
    there.write_bytes(made.file())
    found = load(str(here), variable=str(there))
    assert isinstance(found, service_account.Credentials)
    assert found.service_account_email == "here@x.iam.gserviceaccount.com"
    assert found.signer.key_id == made.KEY_ID
    found = load(None, variable=str(there))
    assert isinstance(found, service_account.Credentials)
    assert found.service_account_email == made.EMAIL


def test_nobody_only_where_the_server_is_not_googles() -> None:
    assert isinstance(load(None, "http://127.0.0.1:9"), AnonymousCredentials)
    (found,) = examine_key(None, Settings(), "http://127.0.0.1:9")
    assert found.level == "pass"
    assert "anonymous" in found.message


@pytest.mark.parametrize("endpoint", [None, "https://storage.googleapis.com"])
def test_no_credentials_at_all(endpoint: str | None, tmp_path: Path) -> None:
    def ask() -> list[str | None]:
        with pytest.raises(ConfigError) as caught:
            load(None, endpoint)
        return [caught.value.message, caught.value.hint]

    message, hint = forked_call(ask, HOME=str(tmp_path), NO_GCE_CHECK="true")
    assert str(message).startswith("no credentials for Google's storage: neither credentials=")
    assert "name its file in GOOGLE_APPLICATION_CREDENTIALS" in str(hint)


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        ("{}/none.json", r"{}/none\.json was not found as \w+", "of this host"),
        ("none.json", r"none\.json was not found in {} as \w+", "cron and systemd start elsewhere"),
        (
            "'{}/key.json'",
            r"'{}/key\.json' was not found: it has quotes around it",
            "take them out",
        ),
        (
            '"{}/key.json"',
            r'"{}/key\.json" was not found: it has quotes around it',
            "take them out",
        ),
        (
            "~/key.json",
            "~/key.json was not found: ~ is not expanded here",
            "only a shell does that",
        ),
        ("{}/key.json ", r"{}/key\.json  was not found: it has spaces around it", "mend cred"),
        ("{}", "{} is a folder, not a file", "name the key's file in credentials="),
        ("{}/pipe", "{}/pipe is a pipe, not a file", "name the key's file in credentials="),
        ("{}/large", "{}/large is 70000 bytes: too large for a key.*", "name the key's file"),
        ("{}/key.json/x", "{}/key.json/x was not found as .*", "of this host"),
        ("{}/loop", "{}/loop can't be read: too many levels .*", "name the key's file"),
    ],
)
def test_a_wrong_path(tmp_path: Path, path: str, message: str, hint: str) -> None:
    (tmp_path / "key.json").write_bytes(made.file())
    (tmp_path / "large").write_bytes(bytes(70_000))
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")

    def ask() -> list[str | None]:
        os.chdir(tmp_path)
        error = refused(path.replace("{}", str(tmp_path)))
        return [error.message, error.hint]

    said = forked_call(ask)
    assert re.fullmatch(message.replace("{}", re.escape(str(tmp_path))), str(said[0]))
    assert hint in str(said[1])


def test_a_key_that_this_user_may_not_read(plain_folder: Path) -> None:
    path = plain_folder / "key.json"
    path.write_bytes(made.file())
    path.chmod(0)

    def ask() -> list[str | None]:
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        error = refused(str(path))
        return [error.message, error.hint]

    message, hint = forked_call(ask)
    assert re.fullmatch(rf"{path} can't be read by [\w ]+: permission denied", str(message))
    assert str(hint).startswith("chown it to the user who runs drkit, mode 0600")


@pytest.mark.parametrize(
    "value",
    [made.file().decode(), made.pem(), base64.b64encode(made.file()).decode(), f"'{made.pem()}'"],
)
def test_the_key_itself_where_its_path_belongs(value: str) -> None:
    error = refused(None, value)
    assert error.message == (
        "GOOGLE_APPLICATION_CREDENTIALS holds the key itself, where the path of its file belongs"
    )
    assert "to a file of mode 0600" in (error.hint or "")


def test_a_piece_of_a_key_is_not_shown_as_a_path() -> None:
    piece = "".join(made.pem().split("\n")[1:4]).replace("/", "x")
    assert refused(None, piece).message.startswith(
        "the value of GOOGLE_APPLICATION_CREDENTIALS was not found"
    )
    assert refused(None, "a\0b").message.startswith("the value of GOOGLE_")


def test_a_key_that_others_read_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_bytes(made.file())
    path.chmod(0o644)
    first, second = examine_key(str(path), Settings(), None)
    assert (first.level, second.level) == ("pass", "warn")
    assert second.message == f"{path} can be read by other users of this machine (mode 0644)"
    assert second.hint == f"chmod 600 {path}"
    path.chmod(0o600)
    assert len(examine_key(str(path), Settings(), None)) == 1


def test_a_key_of_googles_at_another_server_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.touch(0o600)
    path.write_bytes(made.file())
    _, second = examine_key(str(path), Settings(), "http://127.0.0.1:9")
    assert second.level == "warn"
    assert "it will see tokens" in second.message


def test_every_broken_form_is_refused_on_use(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    forms = [made.broken(name) for name in made.BROKEN]
    for data in [*forms, *(spoil() for spoil in made.SPOILT.values())]:
        path.write_bytes(data)
        refused(str(path))


# --- tokens


NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
CANARY = "ya29.canary-token-that-nobody-may-see"
INVALID = "invalid_grant: "


def refresh(text: str, *, retryable: bool = False) -> exceptions.RefreshError:
    return exceptions.RefreshError(text, {"access_token": CANARY}, retryable=retryable)  # type: ignore[no-untyped-call]


def account() -> service_account.Credentials:
    found = service_account.Credentials.from_service_account_info(made.fields())  # type: ignore[no-untyped-call]
    assert isinstance(found, service_account.Credentials)
    return found


@pytest.mark.parametrize(
    ("error", "kind", "message", "hint"),
    [
        (
            refresh(INVALID + "Invalid JWT Signature."),
            ConfigError,
            f"the key is not active: key id {made.KEY_ID} was deleted or rotated",
            f"keys list --iam-account={made.EMAIL}",
        ),
        (
            refresh(INVALID + "Invalid JWT: Token must be a short-lived token (60 minutes)"),
            ConfigError,
            "Google refused the time in the request: this machine's clock is 7200 s off, 2 h ahead",
            "timedatectl",
        ),
        (
            refresh(INVALID + "Invalid grant: account not found"),
            ConfigError,
            f"the service account was not found: {made.EMAIL} was deleted, or its project",
            "undelete",
        ),
        (
            refresh("invalid_client: The OAuth client is disabled."),
            ConfigError,
            f"the service account is disabled: {made.EMAIL}",
            "service-accounts enable",
        ),
        (
            refresh("access_denied: caller may not use project 77"),
            ConfigError,
            "project shop-1 may not be used by this key, which is of project shop-1",
            "bucket names are global",
        ),
        (
            TypeError("string indices must be integers"),
            StoreError,
            "the token endpoint returned HTML: a proxy or a login page answers in its place",
            "curl -I",
        ),
        (
            refresh(f"<!DOCTYPE html><p>{CANARY}"),
            StoreError,
            "the token endpoint returned HTML: a proxy or a login page answers in its place",
            "curl -I",
        ),
        (
            exceptions.TransportError(f"HTTPSConnectionPool: Connection refused {CANARY}"),  # type: ignore[no-untyped-call]
            StoreError,
            "the token endpoint was not reached: the connection was refused",
            "curl -I",
        ),
        (
            refresh(f"server_error: {CANARY}", retryable=True),
            StoreError,
            "the token endpoint stumbled: server_error",
            "",
        ),
        (
            refresh(f"{INVALID}Token has been expired or revoked. {CANARY}"),
            ConfigError,
            "the gcloud login has ended",
            "gcloud auth application-default login",
        ),
        (
            refresh(f"{CANARY}"),
            ConfigError,
            "Google gave no token: no reason that can be shown",
            "",
        ),
    ],
)
def test_token_troubles(error: Exception, kind: type, message: str, hint: str) -> None:
    date = "Sun, 01 Mar 2026 10:00:00 GMT"
    found = token_trouble(error, NOW, date, account())
    assert type(found) is kind
    assert found.message == message
    assert hint in (found.hint or "")
    assert CANARY not in found.message + (found.hint or "")


def test_a_clock_without_another_to_compare() -> None:
    error = refresh("Token must be a short-lived token")
    for date in (None, "", "yesterday"):
        assert token_trouble(error, NOW, date).message.endswith("this machine's clock is off")
    behind = token_trouble(error, NOW, "Sun, 01 Mar 2026 12:30:00 GMT").message
    assert behind.endswith("this machine's clock is 1800 s off, 30 min behind")


def test_two_projects_are_named() -> None:
    assert project_trouble("shop-1", "other").message == (
        "project other may not be used by this key, which is of project shop-1"
    )
