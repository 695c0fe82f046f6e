"""When the certificates in PEM files expire. Reads files: call it in a thread."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from ..config.files import cannot_read
from .server import names_of


class CertificateFile(Struct, frozen=True):
    """``names``: its DNS names. ``expires``: Unix time, of the certificate in the file that expires
    first. ``problem``: why it cannot be read."""

    names: tuple[str, ...] = ()
    expires: float | None = None
    problem: str = ""


def read_certificate(file: str) -> CertificateFile:
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificates(Path(file).read_bytes())
        expires = min(each.not_valid_after_utc.timestamp() for each in found)
        return CertificateFile(tuple(sorted(names_of(file))), expires)
    except OSError as error:
        return CertificateFile(problem=cannot_read(file, error))
    except ValueError:
        return CertificateFile(problem="not a certificate in PEM")
