"""A file of Google credentials as JSON: what else it may be, and which kind it is."""

import base64
import binascii
import json
import re
from collections.abc import Mapping

from drkit.errors import ConfigError
from drkit.stores.google.pem import NEW_KEY

_AS_DOWNLOADED = "store the JSON as it was downloaded"
_SERVICE = f"drkit takes a service account's key: {NEW_KEY}"
_ON_GOOGLE = (
    "drkit takes a service account's key; on a machine of Google's it finds that one's own "
    "account by itself: leave GOOGLE_APPLICATION_CREDENTIALS out"
)
_AS_PERSON = (
    f"{_SERVICE}; to try out as yourself leave GOOGLE_APPLICATION_CREDENTIALS out: "
    "gcloud's own login is found by itself"
)
_BOMS = {b"\xef\xbb\xbf": "UTF-8", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_KINDS = {
    "authorized_user": ("a gcloud user login file, not a service account's key", _AS_PERSON),
    "external_account": ("a workload identity config, not a service account's key", _ON_GOOGLE),
    "external_account_authorized_user": (
        "a workforce login file, not a service account's key",
        _SERVICE,
    ),
    "impersonated_service_account": (
        "an impersonation file, not a service account's key",
        _SERVICE,
    ),
    "gdch_service_account": ("a key of Google Distributed Cloud, not of Google's", _SERVICE),
}
SERVICE_ACCOUNT = "service_account"


def service_account(data: bytes, where: str) -> Mapping[str, object]:
    """Its fields, of whatever types; else a ConfigError that says what the file is instead."""
    fields = fields_of(data, where)
    if fields.get("type") != SERVICE_ACCOUNT:
        raise _other_kind(fields, where)
    return fields


def fields_of(data: bytes, where: str) -> Mapping[str, object]:
    text = _text(data, where)
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise _no_json(text, error, where) from None
    except (ValueError, RecursionError):
        raise ConfigError(f"{where} is not JSON", hint=_AS_DOWNLOADED) from None
    if isinstance(found, str):
        what = "encoded twice: a JSON string that holds JSON" if "{" in found else "a JSON string"
        raise ConfigError(f"{where} is {what}", hint=_AS_DOWNLOADED)
    if not isinstance(found, dict):
        kind = "a list" if isinstance(found, list) else "a single value"
        raise ConfigError(f"{where} is JSON, but {kind}, not a key", hint=_AS_DOWNLOADED)
    return found


def _other_kind(fields: Mapping[str, object], where: str) -> ConfigError:
    kind = fields.get("type")
    if isinstance(kind, str) and kind in _KINDS:
        what, hint = _KINDS[kind]
        return ConfigError(f"{where} is {what}", hint=hint)
    for client in ("installed", "web"):
        if client in fields:
            return ConfigError(f"{where} is an OAuth client secrets file ({client})", hint=_SERVICE)
    if "privateKeyData" in fields:
        return ConfigError(
            f"{where} is the API's answer, with the key inside",
            hint="decode its privateKeyData: jq -r .privateKeyData FILE | base64 -d > key.json",
        )
    if "type" not in fields:
        return ConfigError(f'{where} has no type: a key has "service_account"', hint=_SERVICE)
    return ConfigError(f'{where} has another type than "service_account"', hint=_SERVICE)


# --- no JSON


def _text(data: bytes, where: str) -> str:
    if not data.strip():
        raise ConfigError(f"{where} is empty", hint=f"write the key there: {NEW_KEY}")
    for mark, code in _BOMS.items():
        if data.startswith(mark):
            raise ConfigError(
                f"{where} begins with a byte order mark ({code})",
                hint=f"save it as UTF-8 without one: iconv -f {code} -t UTF-8 FILE, "
                "without the first character",
            )
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ConfigError(
            f"{where} is no text: perhaps a P12 key, or compressed",
            hint=f"drkit takes the JSON form: {NEW_KEY}",
        ) from None


def _no_json(text: str, error: json.JSONDecodeError, where: str) -> ConfigError:
    what, hint = _mistake(text.strip(), text, error)
    return ConfigError(f"{where} {what}", hint=hint)


def _mistake(bare: str, text: str, error: json.JSONDecodeError) -> tuple[str, str]:
    at = error.pos
    if found := _of_the_whole(bare):
        return found
    if error.msg.startswith("Invalid control character"):
        return _line_break(text[:at])
    closes = text[at : at + 1] in {"}", "]"} and text[:at].rstrip().endswith(",")
    if closes or re.match(r",\s*[}\]]", text[at:]):  # Python 3.13 stops at the comma
        return f"has a trailing comma, at line {error.lineno}", "take it out"
    if error.msg.startswith("Unterminated") or at >= len(text.rstrip()):
        return f"ends early, after {len(text)} characters", f"it was cut: {_AS_DOWNLOADED}"
    return f"is not JSON: see line {error.lineno}, column {error.colno}", _AS_DOWNLOADED


def _of_the_whole(bare: str) -> tuple[str, str] | None:
    if bare.startswith("-----BEGIN"):
        return "is the key's PEM alone, not the JSON around it", _AS_DOWNLOADED
    if _holds_base64(bare):
        return "is the JSON in base64", "decode it: base64 -d FILE > key.json"
    if bare.startswith("'"):
        return "has single quotes around it", "take them out: the file begins with {"
    if re.match(r"\{\s*'", bare):
        return "has single quotes where JSON has double ones", _AS_DOWNLOADED
    return None


def _holds_base64(bare: str) -> bool:
    digits = "".join(bare.split())
    try:
        return base64.b64decode(digits, validate=True).lstrip().startswith(b"{")
    except (binascii.Error, ValueError):
        return False


def _line_break(before: str) -> tuple[str, str]:
    """In which field, by the last name that stands before it."""
    names = re.findall(r'"(\w{1,40})"\s*:\s*"', before)
    if names and names[-1] == "private_key":
        return (
            "has line breaks inside private_key",
            f"a shell expanded its \\n: {_AS_DOWNLOADED}, or write with printf %s, not echo",
        )
    return "has a line break inside a text", _AS_DOWNLOADED
