"""What checks of a cluster share: which databases to ask, and how to answer without names."""

from collections.abc import Mapping

from drkit.check import Asked
from drkit.errors import PostgresError
from drkit.model.drill import Answer


def connectable(asked: Asked) -> list[str]:
    which = "datallowconn and datconnlimit <> -2"  # -2: a DROP DATABASE was under way
    sql = f"select datname from pg_database where {which} order by datname"  # noqa: S608  fixed words
    return [row[0] or "" for row in asked.query(sql)]


def yes(
    what: str, message: str, figures: Mapping[str, int] | None = None, names: tuple[str, ...] = ()
) -> Answer:
    return Answer(level="pass", what=what, message=message, figures=figures or {}, names=names)


def no(
    what: str, message: str, figures: Mapping[str, int] | None = None, names: tuple[str, ...] = ()
) -> Answer:
    return Answer(level="fail", what=what, message=message, figures=figures or {}, names=names)


def silent(what: str, message: str) -> Answer:
    return Answer(level="fail", what=what, message=message, ran=False)


def refused(what: str, message: str, error: PostgresError) -> Answer:
    """The server's own words may hold names: a person sees them, evidence has the SQLSTATE."""
    state = f" (SQLSTATE {error.sqlstate})" if error.sqlstate else ""
    return no(what, f"{message}{state}", names=(error.message,))
