"""Make packets that a censor may read and a server discards."""

from __future__ import annotations

import struct
from dataclasses import replace
from random import Random

from testbed.transport.desync.strategy import AutoTtl, Disguise
from testbed.transport.internet import Segment, TcpNumbers, option_at, with_option

_TIMESTAMP, _MD5 = 8, 19
"""TCP options (RFC 7323, 3; RFC 2385)."""
_MD5_BYTES = 18


def disguised(segment: Segment, disguise: Disguise, hops: int | None, rng: Random) -> Segment:
    """Return a packet with a disguise; its bad checksum is for `internet.encode`.

    `hops` is the number of routers to its destination, as far as it is known.
    """
    ttl = disguise.ttl or segment.ttl
    if disguise.auto_ttl is not None and hops is not None:
        ttl = auto_ttl(disguise.auto_ttl, hops) or ttl
    tcp = None if segment.tcp is None else _tcp(segment.tcp, disguise, rng)
    return replace(segment, ttl=ttl, tcp=tcp)


def auto_ttl(auto: AutoTtl, hops: int) -> int | None:
    """Return the TTL for a server behind that many routers.

    None if the bounds make it reach the server although it should not, or the other way round: the
    fixed TTL then counts (zapret, docs/readme.en.md, "autottl").
    """
    ttl = min(max(hops + auto.delta, auto.least), auto.most)
    fails = ttl > hops if auto.delta < 0 else ttl < hops
    return None if fails else ttl


def _tcp(tcp: TcpNumbers, disguise: Disguise, rng: Random) -> TcpNumbers:
    tcp = tcp._replace(
        sequence=tcp.sequence + disguise.sequence_by,
        acknowledgement=tcp.acknowledgement + disguise.acknowledgement_by,
        flags=(tcp.flags | disguise.set_flags) & ~disguise.unset_flags,
    )
    at = option_at(tcp.options, _TIMESTAMP)
    if disguise.timestamp_by and at is not None:
        value = (int.from_bytes(tcp.options[at : at + 4], "big") + disguise.timestamp_by) % (
            1 << 32
        )
        tcp = tcp._replace(
            options=tcp.options[:at] + struct.pack("!I", value) + tcp.options[at + 4 :]
        )
    if disguise.md5:
        signature = bytes([_MD5, _MD5_BYTES]) + rng.randbytes(_MD5_BYTES - 2)
        tcp = with_option(tcp, signature) or tcp
    return tcp
