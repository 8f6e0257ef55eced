"""Makes the chat server's certificate; the same bytes each time, for a lab and nothing else."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from testbed.cell import CERTIFICATE_FILE, CHAT_SERVER_NAME, KEY_FILE

_VALID = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


def write_certificate(folder: Path) -> None:
    """Write certificate and key into a job's folder.

    The key is derived from a published constant, so that TLS messages have the same sizes in every
    run (Ed25519 signatures are of one length). It protects nothing.
    """
    key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"lab chat server").digest())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, CHAT_SERVER_NAME)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(_VALID[0])
        .not_valid_after(_VALID[1])
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(CHAT_SERVER_NAME)]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, None)
    )
    (folder / CERTIFICATE_FILE).write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / KEY_FILE).write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
