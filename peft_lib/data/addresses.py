"""A data set's source as a text, taken apart (data/sources.py says what each scheme means)."""

import re
from dataclasses import dataclass

from peft_lib.names import did_you_mean

MADE = ("package", "sklearn", "mlxtend", "generated")
SCHEMES = ("hub", "mirror", "folder", *MADE)


class SourceError(ValueError):
    """A source that cannot be opened or read, or is not what was locked."""


@dataclass(frozen=True)
class Address:
    """A source, taken apart: `what` is org/name (hub, mirror), a path (folder), or free text."""

    uri: str
    scheme: str
    what: str
    revision: str | None = None
    config: str | None = None


def parse(uri: str) -> Address:
    """Raises SourceError for an unknown scheme, or a hub: or mirror: source that names no data set."""
    scheme, colon, what = uri.partition(":")
    if not colon or scheme not in SCHEMES:
        hint = did_you_mean(scheme, SCHEMES)
        raise SourceError(f"source {uri!r}: unknown scheme {scheme!r}.{hint} Use one of {', '.join(SCHEMES)}")
    if not what.strip():
        raise SourceError(f"source {uri!r} names nothing after '{scheme}:': a source is <scheme>:<what>")
    if scheme not in ("hub", "mirror"):
        return Address(uri, scheme, what)
    match = re.fullmatch(r"((?:[\w.-]+/)?[\w.-]+)(?:@([^#\s]+))?(?:#([\w.-]+))?", what)
    if match is None or (scheme == "mirror" and match[2]):
        form = "[@<revision>]" if scheme == "hub" else ""
        raise SourceError(f"source {uri!r}: {scheme}: is followed by <org>/<name>{form}[#<configuration>]")
    return Address(uri, scheme, match[1], match[2], match[3])
