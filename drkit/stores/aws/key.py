"""Credentials for S3: what botocore would use, found and checked before any request."""

import configparser
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import boto3
import botocore.session
from botocore.exceptions import BotoCoreError, ConfigParseError, PartialCredentialsError

from drkit.errors import ConfigError
from drkit.model.finding import Finding
from drkit.stores.aws.pages import parsed_time
from drkit.stores.aws.text import WHAT, Keys, finding, lint
from drkit.stores.base import Settings
from drkit.stores.endpoint import check_endpoint, is_amazons
from drkit.stores.secret_file import open_to_others, user
from drkit.system import System

_VARIABLES = {  # what botocore has no logical name for
    "drkit_id": "AWS_ACCESS_KEY_ID",
    "drkit_secret": "AWS_SECRET_ACCESS_KEY",
    "drkit_security": "AWS_SECURITY_TOKEN",
    "drkit_token": "AWS_SESSION_TOKEN",
    "drkit_expires": "AWS_CREDENTIAL_EXPIRATION",
    "drkit_web_token": "AWS_WEB_IDENTITY_TOKEN_FILE",
    "drkit_container": "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "drkit_container_full": "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "drkit_no_metadata": "AWS_EC2_METADATA_DISABLED",
    "drkit_endpoint_s3": "AWS_ENDPOINT_URL_S3",
    "drkit_endpoint": "AWS_ENDPOINT_URL",
}
_ENV_NAMES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_FILE_NAMES = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
_EXPIRES = ("x_security_token_expires", "aws_expiration", "aws_session_expiration", "expiration")
_AMAZONS_REGION = re.compile(r"[a-z]{2}(-[a-z0-9]+)+-[0-9]{1,2}")
_REGION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_DMI = Path("/sys/class/dmi/id")
_HINT = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write both to ~/.aws/credentials of the "
    "user who runs drkit"
)


def checked_session(
    options: Mapping[str, str], _settings: Settings, system: System, bucket: str = ""
) -> boto3.Session:
    """Raises the first thing that is wrong; nothing goes on the network."""
    session = _session(options)
    for found in examine_session(options, system, bucket):
        if found.level == "fail":
            raise ConfigError(found.message, hint=found.hint)
    answers = session.get_component("response_parser_factory")
    answers.set_parser_defaults(timestamp_parser=parsed_time)
    return boto3.Session(botocore_session=session, region_name=options.get("region"))


def examine_session(
    options: Mapping[str, str], system: System, bucket: str = ""
) -> tuple[Finding, ...]:
    session = _session(options)
    try:
        check_endpoint(options.get("endpoint"), bucket, path=True)
        _check_files(session)
        _check_profile(session)
        endpoint = options.get("endpoint") or _configured_endpoint(session)
        _check_region(options.get("region") or session.get_config_variable("region"), endpoint)
        return tuple(_found(session, options, endpoint, system.now()))
    except ConfigError as error:
        return (finding("fail", error.message, error.hint),)


def _session(options: Mapping[str, str]) -> botocore.session.Session:
    session = botocore.session.Session(
        session_vars={name: (None, variable, None, None) for name, variable in _VARIABLES.items()}
    )
    if profile := options.get("profile"):
        session.set_config_variable("profile", profile)
    return session


def _said(session: botocore.session.Session, name: str) -> str:
    return str(session.get_config_variable(name) or "")


# --- files, profile, endpoint, region


def _paths(session: botocore.session.Session) -> tuple[str, str]:
    """Of credentials and of config; where each really is."""
    said = (_said(session, name) for name in ("credentials_file", "config_file"))
    credentials, config = (os.path.expanduser(os.path.expandvars(path)) for path in said)
    return credentials, config


def _check_files(session: botocore.session.Session) -> None:
    """botocore passes over a file that it may not read, and its own messages show lines."""
    for path in _paths(session):
        if os.path.isfile(path) and not os.access(path, os.R_OK):
            raise ConfigError(
                f"{path} can't be read by {user()}: permission denied",
                hint="chown it to the user who runs drkit, mode 0600",
            )
    try:
        _ = session.full_config
    except ConfigParseError as error:
        said: Mapping[str, object] = {**error.kwargs}
        raise ConfigError(
            f"{said['path']} can't be parsed{_line(said['error'])}",
            hint="it has [profiles] with lines like name = value",
        ) from None


def _line(error: object) -> str:
    if isinstance(
        error, configparser.MissingSectionHeaderError | configparser.DuplicateOptionError
    ):
        return f": line {error.lineno}"
    if isinstance(error, configparser.ParsingError):
        return f": line {', '.join(str(number) for number, _ in error.errors)}"
    if isinstance(error, configparser.DuplicateSectionError):
        return f": line {error.lineno}, a profile stands there twice"
    if isinstance(error, UnicodeDecodeError):
        return f": no text at byte {error.start}"
    return ": a line below an empty setting has no ="


def _check_profile(session: botocore.session.Session) -> None:
    name = session.get_config_variable("profile")
    known = session.available_profiles
    if name is not None and name not in known:
        credentials, config = _paths(session)
        raise ConfigError(
            f"no profile is called {str(name)[:40]!r} in {credentials} or {config}",
            hint=f"known: {', '.join(sorted(known)) or 'none'}; profile= in the store's address, "
            "or AWS_PROFILE",
        )


def _configured_endpoint(session: botocore.session.Session) -> str | None:
    profile = session.get_scoped_config()
    found = _said(session, "drkit_endpoint_s3") or _said(session, "drkit_endpoint")
    return found or profile.get("endpoint_url") or None


def _check_region(region: object, endpoint: str | None) -> None:
    if region is None:
        return
    form = _AMAZONS_REGION if is_amazons(endpoint) else _REGION
    if not isinstance(region, str) or not form.fullmatch(region):
        raise ConfigError(
            "the region is malformed",
            hint="write it like region=eu-central-1: neither a zone (eu-central-1a) nor a name",
        )


# --- the keys


def _found(
    session: botocore.session.Session,
    options: Mapping[str, str],
    endpoint: str | None,
    now: datetime,
) -> Iterator[Finding]:
    """In botocore's own order: environment, roles, login, files, then what asks the network."""
    explicit = "profile" in options
    if not explicit and _said(session, "drkit_secret") and not _said(session, "drkit_id"):
        yield finding("warn", "AWS_SECRET_ACCESS_KEY is set, AWS_ACCESS_KEY_ID is missing", _HINT)
    keys = None if explicit else _from_environment(session)
    other = None if keys else _asks_others(session, explicit=explicit)
    if keys is None and other is None:
        keys = _from_files(session)
    if keys is not None:
        wrong = lint(keys, now, amazon=is_amazons(endpoint))
        if all(one.level != "fail" for one in wrong):
            yield finding("pass", keys.shown)
        yield from wrong
        yield from _readable_by_others(session, keys)
        return
    yield _sso(session, now) or _by_others(session, other)


def _from_environment(session: botocore.session.Session) -> Keys | None:
    id, secret = _said(session, "drkit_id"), _said(session, "drkit_secret")
    if not id:
        return None
    if not secret:
        raise ConfigError("AWS_ACCESS_KEY_ID is set, AWS_SECRET_ACCESS_KEY is missing", hint=_HINT)
    security = _said(session, "drkit_security")
    return Keys(
        id=id,
        secret=secret,
        token=security or _said(session, "drkit_token") or None,
        names=(*_ENV_NAMES[:2], "AWS_SECURITY_TOKEN" if security else _ENV_NAMES[2]),
        where="the environment",
        expires=_moment(_said(session, "drkit_expires")),
    )


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


def _profile(session: botocore.session.Session) -> tuple[str, Mapping[str, object]]:
    name = session.get_config_variable("profile") or "default"
    return str(name), session.full_config["profiles"].get(name, {})


def _from_files(session: botocore.session.Session) -> Keys | None:
    name, profile = _profile(session)
    for path, method in zip(
        _paths(session), ("shared-credentials-file", "config-file"), strict=True
    ):
        where = f"profile {name} in {path}"
        try:
            found = session.get_component("credential_provider").get_provider(method).load()
        except PartialCredentialsError as error:
            missing = error.kwargs["cred_var"]
            raise ConfigError(
                f"{where} has {_FILE_NAMES[0]}, but no {missing}", hint=_HINT
            ) from None
        except (BotoCoreError, ValueError):
            raise ConfigError(f"{where} can't be used", hint=_HINT) from None
        if found is not None:
            expires = next((str(profile[n]) for n in _EXPIRES if n in profile), "")
            return Keys(
                id=found.access_key,
                secret=found.secret_key,
                token=found.token,
                names=_FILE_NAMES,
                where=where,
                expires=_moment(expires),
            )
    if _FILE_NAMES[1] in profile:
        where = f"profile {name} in {' or '.join(_paths(session))}"
        raise ConfigError(f"{where} has {_FILE_NAMES[1]}, but no {_FILE_NAMES[0]}", hint=_HINT)
    return None


def _readable_by_others(session: botocore.session.Session, keys: Keys) -> Iterator[Finding]:
    for path in _paths(session):
        opened = open_to_others(WHAT, path) if keys.where.endswith(path) else None
        if opened is not None:
            yield opened


# --- what gives keys of its own accord


def _asks_others(session: botocore.session.Session, *, explicit: bool) -> str | None:
    """What comes before the files, and asks a server for keys."""
    name, profile = _profile(session)
    if "role_arn" in profile and "web_identity_token_file" not in profile:
        if not {"source_profile", "credential_source"} & set(profile):
            message = (
                f"profile {name} has role_arn, but neither source_profile nor credential_source"
            )
            raise ConfigError(message, hint="name the profile whose key may assume the role")
        return "by a role that is assumed"
    if "web_identity_token_file" in profile:
        return "by a web identity"
    if not explicit and _said(session, "drkit_web_token"):
        return "by a web identity (AWS_WEB_IDENTITY_TOKEN_FILE)"
    if "sso_account_id" in profile or "sso_role_name" in profile:
        return "by a login (sso)"
    return None


def _by_others(session: botocore.session.Session, other: str | None) -> Finding:
    profile = _profile(session)[1]
    if other is None and "login_session" in profile:
        other = "by a login"
    if other is None and "credential_process" in profile:
        other = "by a command (credential_process)"
    if other is None and _said(session, "drkit_container") + _said(session, "drkit_container_full"):
        other = "by this container"
    if other is None and _has_metadata(session):
        other = "by the machine's role"
    if other is not None:
        return finding("pass", f"given {other}: only a request tells whether they are right")
    credentials, config = _paths(session)
    return finding(
        "fail",
        f"no AWS credentials: none in the environment, nor for profile {_profile(session)[0]} in "
        f"{credentials} or {config}, and this is no machine of Amazon's",
        _HINT,
    )


def _has_metadata(session: botocore.session.Session) -> bool:
    """Whether a machine's role may be asked for, told without asking."""
    if _said(session, "drkit_no_metadata").lower() == "true":
        return False
    if session.get_config_variable("ec2_metadata_service_endpoint"):
        return True
    signs = ((_DMI / "sys_vendor", "amazon"), (_DMI / "bios_version", "amazon"))
    return any(sign in _first_line(path).lower() for path, sign in signs) or _first_line(
        Path("/sys/hypervisor/uuid")
    ).startswith("ec2")


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _sso(session: botocore.session.Session, now: datetime) -> Finding | None:
    """What has expired and can't be renewed without a person; None where that isn't so."""
    name, profile = _profile(session)
    if "sso_account_id" not in profile and "sso_role_name" not in profile:
        return None
    key = str(profile.get("sso_session") or profile.get("sso_start_url") or "")
    digest = hashlib.sha1(key.encode(), usedforsecurity=False).hexdigest()
    cached = Path("~/.aws/sso/cache").expanduser() / f"{digest}.json"
    hint = f"aws sso login --profile {name}; a host that runs at night needs a key of its own"
    try:
        token = json.loads(cached.read_bytes())
        ends = _moment(str(token["expiresAt"]).replace("UTC", "+00:00"))
        renews = bool(token.get("refreshToken"))
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return finding("fail", f"profile {name} logs in by sso, and nobody has logged in", hint)
    if ends is not None and ends <= now and not renews:
        message = f"the sso login of profile {name} expired at {ends:%Y-%m-%dT%H:%M:%SZ}"
        return finding("fail", message, hint)
    return None
