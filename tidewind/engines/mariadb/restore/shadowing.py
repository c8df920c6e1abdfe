"""Which anonymous accounts the server would take a login for. Pure.

For a login the server goes through the rows that match the host, the most exact host first, and takes the first whose
user is the one that logs in or nobody. Of hosts that are equally exact a named row comes before an anonymous one. So an
anonymous row on a more exact host makes the named account unreachable, whatever its password.
"""

import re
from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from tidewind.engines.mariadb.quoting import account_name
from tidewind.ports.engine import Finding

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_LONGEST = 255
_MOST_WILDCARDS = 31
_TOKEN = re.compile(r"%+|\\.|.", re.DOTALL)
_WILD = {"%": ".*", "_": "."}
_OF_ADDRESSES = re.compile(r"[0-9a-fA-F.:%_/]*")


def blocker(user: str, own_host: str, named: Sequence[str], anonymous: Sequence[str]) -> Finding | None:
    """What stands in the way of a user of Tidewind's, who comes from `own_host` and has accounts on the hosts `named`,
    once the anonymous accounts on those hosts are in force too. Nothing if the user has no account there at all."""
    before = hosts_before(own_host, named, anonymous) if named else []
    if not before:
        return None
    missing = ", ".join(account_name(user, host) for host in before)
    return Finding(
        subject="accounts",
        level="error",
        text=f"the accounts to be restored hold anonymous ones on {', '.join(map(repr, before))}: from {own_host} the "
        f"server would take {user!r} for one of them, and it could not log in once the cluster is open",
        fix=f"Create {missing} with the password and rights that {user!r} has, and repeat",
    )


def hosts_before(own_host: str, service: Sequence[str], anonymous: Sequence[str]) -> list[str]:
    """Hosts of anonymous rows that come before every row of the service's for a login from `own_host`, as the server
    names it. Where it names a host by name, its address is not known, and a pattern of addresses counts as one that
    matches."""
    widest = (_LONGEST + 1, 0, 0, 0, 0)
    best = min((_breadth(host) for host in service if _may_match(host, own_host, guess=False)), default=widest)
    there = {host.lower() for host in service}
    return sorted(
        host
        for host in anonymous
        if host.lower() not in there and _may_match(host, own_host, guess=True) and _breadth(host) < best
    )


def _breadth(host: str) -> tuple[int, int, int, int, int]:
    """Sorts hosts as the server does, the most exact first: by how many characters a pattern leaves open, and only then
    by where its first wildcard stands (`get_magic_sort` of sql_acl.cc). All hosts without wildcards are equal."""
    literal = ones = runs = first = 0
    for part in _TOKEN.findall(host):
        if part[0] in "%_" and ones == runs == 0:
            first = literal
        if part[0] == "%":
            runs += 1
        elif part == "_":
            ones += 1
        else:
            literal += 1
    runs, ones = min(runs, _MOST_WILDCARDS), min(ones, _MOST_WILDCARDS)
    open_ended = _LONGEST - literal - ones if runs else 0
    if open_ended > ones:
        return (open_ended, 1, runs, ones, first)
    return (ones, 0, open_ended, runs, first)


def _may_match(host: str, own_host: str, *, guess: bool) -> bool:
    known = LOOPBACK if own_host in LOOPBACK else (own_host,)
    if any(_matches(host.lower(), one.lower()) for one in known):
        return True
    address_known = own_host in LOOPBACK or _is_address(own_host)
    return guess and not address_known and _OF_ADDRESSES.fullmatch(host) is not None


def _matches(host: str, one: str) -> bool:
    if "/" in host:
        try:
            return ip_address(one) in ip_network(host)
        except ValueError:
            return False
    return re.fullmatch(_TOKEN.sub(_as_regex, host), one) is not None


def _as_regex(token: re.Match[str]) -> str:
    text = token.group()
    if text[0] in _WILD:
        return _WILD[text[0]]
    return re.escape(text[1:] if len(text) > 1 else text)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
