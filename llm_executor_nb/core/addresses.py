"""What a host name says about the way there: this machine, a private network, or the internet. Asks no name server."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

_PRIVATE_NAME: Final = re.compile(r"[a-z][\w-]*|.*\.(localhost|local|internal|home\.arpa)", re.ASCII)
"""Names that the internet does not have: those without a dot, as in Docker's networks, and the reserved endings."""


def is_this_machine(host: str) -> bool:
    """Whether a host name is this machine's own."""
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def is_private(host: str) -> bool:
    """Whether a host is this machine or one in a private network."""
    address = _address(host)
    if address is None:
        return _PRIVATE_NAME.fullmatch(host.lower().rstrip(".")) is not None
    return address.is_private


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a host is written as; None: it is a name."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    # Python calls every IPv4 address in an IPv6 one private
    return getattr(address, "ipv4_mapped", None) or address
