"""The lab's certificates: the same each time, and accepted by the strictest of clients."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from testbed.experiment.cell import (
    BRIDGE_CERTIFICATE_FILE,
    BRIDGE_KEY_FILE,
    BRIDGE_NAME,
    CERTIFICATE_FILE,
    CHAT_SERVER_NAME,
    KEY_FILE,
)
from testbed.run.certificate import write_certificates


@pytest.mark.parametrize(
    ("name", "files"),
    [
        (CHAT_SERVER_NAME, (CERTIFICATE_FILE, KEY_FILE)),
        (BRIDGE_NAME, (BRIDGE_CERTIFICATE_FILE, BRIDGE_KEY_FILE)),
    ],
)
def test_a_strict_client_accepts_it(tmp_path: Path, name: str, files: tuple[str, str]) -> None:
    """As Python does from 3.13 on (RFC 5280: key identifiers, what a key may be used for)."""
    write_certificates(tmp_path)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(tmp_path / files[0], tmp_path / files[1])
    asking = ssl.create_default_context(cafile=tmp_path / CERTIFICATE_FILE)
    asking.verify_flags |= ssl.VERIFY_X509_STRICT
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = serving.wrap_bio(up, down, server_side=True)
    client = asking.wrap_bio(down, up, server_hostname=name)
    for end in (client, server, client, server):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert client.version() == server.version() == "TLSv1.3"


def test_they_are_the_same_each_time(tmp_path: Path) -> None:
    made = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        write_certificates(tmp_path / name)
        made.append([path.read_bytes() for path in sorted((tmp_path / name).iterdir())])
    assert made[0] == made[1]
