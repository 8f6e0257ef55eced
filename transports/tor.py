"""Tor, unmodified, in a network of its own: a client, an obfs4 bridge, an authority and an exit.

With one authority, a circuit's hops are the bridge, the authority and the exit. Datagrams are
framed by PT 3.0 in a stream through the client's SOCKS port, and a TCP service behind the exit
passes them on by UDP. The network is set up as chutney does it: TestingTorNetwork, and votes within
seconds (tor(1), TESTING NETWORK OPTIONS). All relays run on the bridge's node, so the hops between
them add no network delay; the path to the bridge has that of the links. The client does not use
conflux, which needs a second bridge.
"""

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import trio

from testbed.transport import pt
from testbed.transport.interface import Address, Host, Program, ServerInfo, TransportError
from testbed.transport.pt import socks_client as socks
from testbed.transport.pt.exactly import EarlyEndError
from testbed.transport.tcp_datagrams import TcpDatagrams
from testbed.transport.tunnel import await_greeting, serve_streams

_COMMON = """
TestingTorNetwork 1
DataDirectory {folder}
Nickname {name}
ShutdownWaitLength 0
SafeLogging 0
NumCPUs 1
Log notice stderr
"""
_RELAY = """
Address {host}
ORPort {host}:{orport}
SocksPort 0
ContactInfo nobody@example.net
AssumeReachable 1
__DisablePredictedCircuits 1
ExitPolicyRejectPrivate 0
ExitPolicyRejectLocalInterfaces 0
"""
_AUTHORITY = """
DirPort {host}:{dirport}
AuthoritativeDirectory 1
V3AuthoritativeDirectory 1
ExitPolicy reject *:*
V3AuthVotingInterval 300
V3AuthVoteDelay 4
V3AuthDistDelay 4
TestingV3AuthInitialVotingInterval {interval}
TestingV3AuthVotingStartOffset {offset}
TestingV3AuthInitialVoteDelay 2
TestingV3AuthInitialDistDelay 2
TestingDirAuthVoteExit *
TestingDirAuthVoteGuard *
TestingMinExitFlagThreshold 0
"""
_EXIT = """
ExitRelay 1
ExitPolicy accept *:*
"""
_BRIDGE = """
BridgeRelay 1
PublishServerDescriptor 0
ExitPolicy reject *:*
"""
_CLIENT = """
SocksPort 127.0.0.1:{port}
UseBridges 1
ConfluxEnabled 0
ClientTransportPlugin obfs4 socks5 {plugin}
Bridge obfs4 {bridge} {fingerprint} {args}
"""
_INTERVAL_S, _FIRST_CONSENSUS_S = 20, 10
"""Votes take place at multiples of the interval. They are offset so that the first one comes when
all relays have published themselves."""
_CONNECT_S, _ASK_EVERY_S = 25.0, 0.5
_VOTES, _KNOWS_THE_NETWORK = "Scheduling voting", "(enough_dirinfo)"
_HAS_CIRCUITS = "Bootstrapped 100%"


@dataclass(frozen=True)
class Transport:
    """Tor through an obfs4 bridge, datagrams framed over its stream. Reliable and in order."""

    authorities: int = 1
    """How many directory authorities there are; more than one makes no difference to a call."""

    programs: ClassVar[tuple[Program, ...]] = (
        Program("tor", apt="tor"),
        Program("tor-gencert", apt="tor"),
        Program("obfs4proxy", apt="obfs4proxy"),
    )

    def __post_init__(self) -> None:
        if self.authorities < 1:
            raise ValueError(f"authorities: {self.authorities} is less than 1")

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Run a Tor network with a bridge on `listen`, and the service behind its exit."""
        service = await serve_streams(host, forward)
        authorities = [await _Authority.create(host, f"auth{k}") for k in range(self.authorities)]
        network = "".join(authority.line for authority in authorities)
        for authority in authorities:
            # A relay publishes itself when it starts, and again only much later: the authority
            # must accept descriptors by then.
            await _start(host, authority.name, authority.torrc + network, ready=_VOTES)
        relay = _RELAY.format(host=host.address, orport=host.free_port())
        await _start(host, "exit", relay + _EXIT + network)
        orport = Address(host.address, host.free_port())
        relay = _RELAY.format(host=orport.host, orport=orport.port)
        folder = await _start(host, "bridge", relay + _BRIDGE + network, ready=_KNOWS_THE_NETWORK)
        bridge = await pt.start_server(host, ["obfs4proxy"], "obfs4", listen=listen, orport=orport)
        known = {
            "args": " ".join(f"{key}={value}" for key, value in bridge.args.items()),
            "fingerprint": (folder / "fingerprint").read_text().split()[1],
        }
        return ServerInfo(listen, {**known, "service": str(service), "network": network})

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Run a client, wait until it has its circuits, and open one stream to the service."""
        plugin = await pt.start_client(host, ["obfs4proxy"], "obfs4")
        port = host.free_port()
        known = {key: server.args[key] for key in ("args", "fingerprint")}
        client = _CLIENT.format(port=port, plugin=plugin.address, bridge=server.address, **known)
        torrc = client + server.args["network"]
        destination = Address.of(server.args["service"])
        with trio.move_on_after(_CONNECT_S):
            await _start(host, f"client{port}", torrc, ready=_HAS_CIRCUITS)
            stream = await _open_stream(host, Address("127.0.0.1", port), destination)
            channel = TcpDatagrams(stream)
            await await_greeting(channel)
            return channel
        raise TransportError(f"tor opened no stream within {_CONNECT_S:g} s; its log says why")


async def _open_stream(host: Host, proxy: Address, destination: Address) -> trio.SocketStream:
    """Ask tor for a stream until it opens one: it refuses while it has no circuit to the exit."""
    while True:
        stream = await host.open_tcp(proxy)
        try:
            await socks.connect(stream, 5, destination, {})
        except (socks.SocksError, EarlyEndError, trio.BrokenResourceError):
            await stream.aclose()
            await trio.sleep(_ASK_EVERY_S)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        else:
            return stream


@dataclass(frozen=True)
class _Authority:
    name: str
    torrc: str
    line: str
    """The line of a torrc by which other relays know this authority."""

    @classmethod
    async def create(cls, host: Host, name: str) -> "_Authority":
        """Create an authority's keys and its configuration."""
        orport, dirport = host.free_port(), host.free_port()
        folder = host.state_dir / name
        keys = folder / "keys"
        keys.mkdir(parents=True)
        folder.chmod(0o700)
        keys.chmod(0o700)
        files = {"-i": "authority_identity_key", "-s": "authority_signing_key"}
        paths = [part for flag, file in files.items() for part in (flag, str(keys / file))]
        certificate = keys / "authority_certificate"
        address = f"{host.address}:{dirport}"
        await host.run_process(
            [
                *("tor-gencert", "--create-identity-key", "--passphrase-fd", "0", "-m", "12"),
                *("-a", address, *paths, "-c", str(certificate)),
            ],
            input=b"nobody's\n",
        )
        identity = re.search(r"^fingerprint (\w+)$", certificate.read_text(), re.MULTILINE)
        assert identity is not None
        listed = await host.run_process(
            [
                *("tor", "--defaults-torrc", "none", "--ignore-missing-torrc", "-f", "none"),
                *("--quiet", "--list-fingerprint", "--DataDirectory", str(folder)),
                *("--ORPort", "1", "--Nickname", name),
            ]
        )
        fingerprint = listed.decode().split(maxsplit=1)[1].replace(" ", "").strip()
        torrc = _RELAY.format(host=host.address, orport=orport)
        offset = int(time.time() + _FIRST_CONSENSUS_S) % _INTERVAL_S
        torrc += _AUTHORITY.format(
            host=host.address, dirport=dirport, interval=_INTERVAL_S, offset=offset
        )
        line = f"orport={orport} v3ident={identity[1]} {address} {fingerprint}"
        return cls(name, torrc, f"DirAuthority {name} {line}\n")


async def _start(host: Host, name: str, torrc: str, ready: str = "") -> Path:
    """Start tor and wait until it has said `ready`; return its folder."""
    folder = host.state_dir / name
    folder.mkdir(mode=0o700, exist_ok=True)
    path = host.state_dir / f"{name}.torrc"
    path.write_text(_COMMON.format(folder=folder, name=name) + torrc)
    await host.start_process(["tor", "--defaults-torrc", "none", "-f", str(path)], ready=ready)
    return folder
