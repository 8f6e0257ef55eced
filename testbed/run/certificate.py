"""Makes the lab's TLS certificates: the same bytes each time, and for use in the lab only."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from testbed.experiment.cell import (
    BRIDGE_CERTIFICATE_FILE,
    BRIDGE_KEY_FILE,
    BRIDGE_NAME,
    CERTIFICATE_FILE,
    CHAT_SERVER_NAME,
    KEY_FILE,
)

_VALID = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
_BRIDGE_KEY = Path(__file__).with_name("bridge_key.pem")
PrivateKey = Ed25519PrivateKey | RSAPrivateKey


def write_certificates(folder: Path) -> None:
    """Write the certificates and keys of the chat server and the bridge into a job's folder.

    The keys are published constants, so they are the same in every run and protect nothing. Both
    key types have signatures of a fixed length: the length of a P-256 signature varies by a byte at
    random, which would change a cell's times. The chat server has an Ed25519 key, and its
    certificate is the lab's certificate authority. The bridge has an RSA key, because the TLS
    clients of some circumvention programs do not support Ed25519 (sing-box 1.14; SagerNet/sing-box
    issue 2151).
    """
    authority = Ed25519PrivateKey.from_private_bytes(_constant("lab chat server"))
    bridge = load_pem_private_key(_BRIDGE_KEY.read_bytes(), None)
    assert isinstance(bridge, RSAPrivateKey)
    _write(authority, authority, CHAT_SERVER_NAME, folder / CERTIFICATE_FILE, folder / KEY_FILE)
    paths = (folder / BRIDGE_CERTIFICATE_FILE, folder / BRIDGE_KEY_FILE)
    _write(bridge, authority, BRIDGE_NAME, *paths)


def _constant(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _write(
    key: PrivateKey, issuer: Ed25519PrivateKey, server_name: str, certificate: Path, key_path: Path
) -> None:
    is_authority = key is issuer
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(server_name))
        .issuer_name(_name(CHAT_SERVER_NAME))
        .public_key(key.public_key())
        .serial_number(1 if is_authority else 2)
        .not_valid_before(_VALID[0])
        .not_valid_after(_VALID[1])
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(server_name)]), False)
        .add_extension(x509.BasicConstraints(is_authority, 0 if is_authority else None), True)
        .add_extension(_usage(is_authority=is_authority), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), False
        )
    )
    certificate.write_bytes(builder.sign(issuer, None).public_bytes(Encoding.PEM))
    key_path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not is_authority,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _name(server_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, server_name)])
