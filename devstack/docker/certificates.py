"""A certificate for this machine's own addresses, signed by an authority that forgets its key at once.

`python certificates.py FOLDER NAME...` writes `ca.pem`, `server.pem` and `server.key` where they are missing, end soon
or name something else. Whoever trusts `ca.pem` trusts this one certificate: nobody can sign another with it.
"""

import ipaddress
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFE = timedelta(days=397)
RENEW = timedelta(days=30)


def alternative(name: str) -> x509.GeneralName:
    """A name or an address."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def is_good(folder: Path, names: list[x509.GeneralName]) -> bool:
    """Whether what lies there can go on serving these names."""
    if not all((folder / name).exists() for name in ("ca.pem", "server.pem", "server.key")):
        return False
    known = x509.load_pem_x509_certificate((folder / "server.pem").read_bytes())
    try:
        known.verify_directly_issued_by(x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes()))
    except (ValueError, TypeError, InvalidSignature):
        return False
    stated = known.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return list(stated) == names and known.not_valid_after_utc > datetime.now(UTC) + RENEW


def builder(subject: str, issuer: str, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    """What both certificates have in common."""
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + LIFE)
    )


def usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """An authority signs certificates, a server signs handshakes."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def write(folder: Path, names: list[x509.GeneralName]) -> None:
    """Make the authority, sign the server's certificate with it, keep all but the authority's key."""
    authority, server = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    name = f"mcp-server on this machine, {datetime.now(UTC):%Y-%m-%d %H:%M}"
    root = (
        builder(name, name, authority.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority.public_key()), critical=False)
        .sign(authority, hashes.SHA256())
    )
    leaf = (
        builder("mcp-server", name, server.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(server.public_key()), critical=False)
        .sign(authority, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(root.public_bytes(pem))
    (folder / "server.pem").write_bytes(leaf.public_bytes(pem))
    key = server.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_key(folder / "server.key", key)


def write_key(path: Path, key: bytes) -> None:
    """Write what only its owner may read, at no time anybody else; an older file may have had another mode."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key)


def main(folder: Path, wanted: list[str]) -> None:
    """Write what is missing."""
    names = [alternative(one) for one in wanted]
    if is_good(folder, names):
        (folder / "server.key").chmod(0o600)  # that of an earlier version could be read by all
        print(f"kept: {folder / 'ca.pem'}")
        return
    write(folder, names)
    print(f"made: {folder / 'ca.pem'} for {', '.join(wanted)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
