"""Make the payloads of fake packets.

Where a tactic names none, they are those of nfqws (zapret, nfq/params.c, dp_fake_defaults): zeros
for most protocols, and for TLS and HTTP a request for an innocent name. The tools' files of
recorded requests are not here; a ClientHello or an Initial for the same name stands for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from testbed.transport.desync.recognised import session_of
from testbed.transport.desync.strategy import Fake, Layer7
from testbed.transport.stun_messages import MAGIC_COOKIE

INNOCENT = "www.google.com"
"""The name in the tools' recorded requests (zapret, files/fake/*_www_google_com.bin)."""
_ZEROS = Fake(content=bytes(64))
DEFAULTS: Mapping[Layer7, Sequence[Fake]] = {
    "http": (Fake("http", name=INNOCENT),),
    "tls": (Fake("tls", name=INNOCENT, random_name=True, same_session=True),),
    "quic": (Fake(content=b"\x40" + bytes(619)),),
    "wireguard": (_ZEROS,),
    "dht": (_ZEROS,),
    "discord": (_ZEROS,),
    "stun": (_ZEROS,),
    "unknown": (_ZEROS,),
}
"""nfqws's own fakes for UDP, and for TCP those that it recognises."""
UNKNOWN_TCP = (Fake(content=bytes(256)),)
_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"
_QUIC_BYTES = 1200


def payload_of(fake: Fake, original: bytes, rng: Random) -> bytes:
    """Return the payload of a fake that goes with a packet's payload."""
    match fake.kind:
        case "bytes":
            made = fake.content
        case "random":
            made = rng.randbytes(fake.size_bytes)
        case "original":
            made = original
        case "stun":
            made = b"\0\1\0\0" + MAGIC_COOKIE.to_bytes(4, "big") + rng.randbytes(12)
        case "http":
            made = f"GET / HTTP/1.1\r\nHost: {_name(fake, rng)}\r\n\r\n".encode()
        case "tls":
            made = _tls(_name(fake, rng), original if fake.same_session else b"", rng)
        case "quic":
            from testbed.transport import hello  # noqa: PLC0415 - its ciphers cost a guest 0.3 s

            made = hello.quic(_name(fake, rng), "h3", size_bytes=_QUIC_BYTES)
    return made


def random_name(length: int, rng: Random) -> str:
    """Return letters and digits that look like a name; with seven or more, one in `.com`."""
    ending = ".com" if length >= 7 else ""
    return "".join(rng.choices(_LETTERS, k=length - len(ending))) + ending


def host_name(template: str, length: int, rng: Random) -> str:
    """Return a name of a length that ends as a template does; without one, it is random.

    A template that is too long loses its beginning; one that is too short gets labels of random
    letters before it (zapret, docs/readme.en.md, "hostfakesplit").
    """
    if not template:
        return random_name(length, rng)
    missing = length - len(template)
    if missing <= 0:
        return template[-length:]
    return "".join(rng.choices(_LETTERS, k=missing - 1)) + "." + template


def repeated(pattern: bytes, length: int) -> bytes:
    """Return a pattern, repeated to a length."""
    return (pattern * (length // len(pattern) + 1))[:length]


def _name(fake: Fake, rng: Random) -> str:
    return random_name(len(fake.name), rng) if fake.random_name else fake.name


def _tls(name: str, original: bytes, rng: Random) -> bytes:
    """Return a record with a ClientHello that has random bytes of its own.

    With `original`, the real record, it has that one's session ID, as a server would answer both.
    """
    from testbed.transport import hello  # noqa: PLC0415 - its ciphers cost a guest 0.3 s

    body = hello.client_hello(name, "h2")
    session = session_of(original) or rng.randbytes(32)
    # The version, then the random bytes, then the session ID, which is empty so far.
    body = body[:2] + rng.randbytes(32) + bytes([len(session)]) + session + body[35:]
    return hello.tls_record(b"\x01" + len(body).to_bytes(3, "big") + body)
