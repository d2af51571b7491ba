"""Hosts in addresses: which are this machine, and which parsers of URLs could read differently."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself: ``localhost`` or a loopback address, in any spelling.

    Args:
        host: A name or an IP address, without brackets.
    """
    address = _address(host)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback if address else host.lower() in ("localhost", "localhost.")


def is_host(host: str) -> bool:
    """Whether every parser of URLs takes a host for the same server.

    It is an IP address in its usual form, or a name of ASCII letters, digits, ``-`` and ``_``. Some parsers
    read ``127.1`` and ``0x7f.0.0.1`` as IP addresses, and decode ``%61`` and full-width letters.

    Args:
        host: A name or an IP address, without brackets.
    """
    if _address(host):
        return "%" not in host  # a zone, which URLs cannot have
    last = host.lower().rstrip(".").rpartition(".")[2]
    return bool(_NAME.fullmatch(host.lower())) and not _NUMBER.fullmatch(last)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
