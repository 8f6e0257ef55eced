"""Run coturn as a messenger's relay, and unwrap the media that TURN carries."""

from __future__ import annotations

from contextlib import suppress

import trio

from testbed.lab.engines.real_call import Envelope
from testbed.lab.nodes.host import LabHost
from testbed.transport import stun_messages as stun
from testbed.transport.interface import Address, Program
from testbed.transport.turn_client import channel_data, take_unit

TURNSERVER = Program("turnserver", apt="coturn")
USER = "caller"
"""The user name of both ends; each has an allocation of its own."""

_OPTIONS = "-n -m 0 --no-cli --no-rfc5780 --no-dtls --no-tls --stale-nonce=0 --simple-log"
"""No configuration file, one thread; UDP and TCP share one port."""


async def serve_coturn(host: LabHost, relay: Address, password: str) -> None:
    """Serve TURN at a node's address over UDP and TCP until the host closes."""
    command = f"turnserver {_OPTIONS} --log-file stdout -L {relay.host} -E {relay.host}"
    command += f" --listening-port {relay.port} -a -r relay.messenger.example"
    command += f" -u {USER}:{password} --pidfile {host.state_dir}/pid"
    command += f" --userdb {host.state_dir}/users"
    await host.start_process(command.split(), ready="Total General servers")


def _unwrap(unit: bytes) -> bytes:
    """Return the data of a ChannelData message or an indication (RFC 8656, 12 and 11), or b""."""
    if unit[:1] and unit[0] >> 6 == 1:  # ChannelData begins with the bits 01, STUN with 00
        return channel_data(unit)
    with suppress(ValueError):
        message = stun.decode(unit)
        if message.kind in (stun.SEND_INDICATION, stun.DATA_INDICATION):
            return message.attribute(stun.DATA)
    return b""


def _take(unparsed: bytearray) -> bytes | None:
    with suppress(trio.BrokenResourceError):
        return take_unit(unparsed)
    return None


TURN = Envelope(_unwrap, _take)
