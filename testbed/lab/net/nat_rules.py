"""Write the nftables rules of a router that translates addresses (nft(8)).

Linux keeps a port's number when it translates, if no other flow has it; one person's ports are thus
mapped independently of the endpoint. With `fully-random`, each flow has a random port instead.

Linux itself lets in only answers of the endpoint that was addressed. To let in more, the router
remembers what is inside behind each of its ports, and for each port whom it has addressed. Rules
then translate the first packet of a flow from outside by what is remembered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain

from testbed.experiment.nat import Translator

_SIZE = 65_536
_KNOWN = "udp dport . ip saddr @known "


def nat_rules(translator: Translator, inside: str, outside: Mapping[str, str]) -> str:
    """Return the rules of a router.

    Args:
        translator: What it does.
        inside: Its interface on the inside.
        outside: The addresses of its other interfaces by their names.
    """
    lines = chain(
        _memory(translator),
        _incoming(translator, outside),
        _outgoing(translator, outside),
        _refusals(translator, inside, outside),
    )
    body = "\n".join(f"  {line}" for line in lines)
    return f"table ip translation {{\n{body}\n}}\n"


def _remembers(translator: Translator) -> bool:
    """Return whether more than the answers of those who were addressed come in."""
    return translator.filtering != "address-and-port-dependent"


def _memory(translator: Translator) -> Iterator[str]:
    if _remembers(translator):
        kept = f"flags dynamic, timeout; timeout {translator.udp_timeout_s}s; size {_SIZE};"
        yield f"map mapped {{ type inet_service : ipv4_addr . inet_service; {kept} }}"
        yield f"set known {{ type inet_service . ipv4_addr; {kept} }}"


def _incoming(translator: Translator, outside: Mapping[str, str]) -> Iterator[str]:
    yield "chain incoming {"
    yield "  type nat hook prerouting priority dstnat"
    if _remembers(translator):
        known = _KNOWN if translator.filtering == "address-dependent" else ""
        for device, address in outside.items():
            own = f'iifname "{device}" ip daddr {address} meta l4proto udp'
            yield f"  {own} {known}dnat ip to udp dport map @mapped"
    yield "}"


def _outgoing(translator: Translator, outside: Mapping[str, str]) -> Iterator[str]:
    port = "" if translator.mapping == "endpoint-independent" else " fully-random"
    yield "chain outgoing {"
    yield "  type nat hook postrouting priority srcnat"
    for device, address in outside.items():
        yield f'  oifname "{device}" snat ip to {address}{port}'
    yield "}"
    if not _remembers(translator):
        return
    yield "chain remember {"
    yield "  type filter hook postrouting priority srcnat + 100"
    for device in outside:
        sent = f'oifname "{device}" meta l4proto udp'
        for side in ("original", "reply"):
            of_inside = f"ct {side} ip saddr . ct {side} proto-src"
            yield f"  {sent} ct direction {side} update @mapped {{ udp sport : {of_inside} }}"
        yield f"  {sent} update @known {{ udp sport . ip daddr }}"
    yield "}"


def _refusals(translator: Translator, inside: str, outside: Mapping[str, str]) -> Iterator[str]:
    """Yield what is dropped, without a word, as routers do."""
    devices = ", ".join(f'"{device}"' for device in outside)
    uninvited = f"iifname {{ {devices} }} ct state new"
    yield f"chain own {{ type filter hook input priority 0; {uninvited} drop; }}"
    yield "chain passing {"
    yield "  type filter hook forward priority 0"
    yield f"  {uninvited} ct status & dnat == 0 drop"
    if translator.blocks_udp:
        yield f'  iifname "{inside}" meta l4proto udp drop'
    yield "}"
