"""Certificates for servers on this machine."""

from __future__ import annotations

import subprocess
from pathlib import Path


def self_signed(folder: Path) -> Path:
    """A certificate for this machine that is its own authority; its key beside it, as `.key`."""
    file = folder / "cert.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(file.with_suffix(".key")), "-out", str(file)]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files]
    subprocess.run(command, check=True, capture_output=True)
    return file


def tls_settings(certificate: Path) -> dict[str, str]:
    """The environment of a Qdrant server that uses it."""
    return {
        "QDRANT__SERVICE__ENABLE_TLS": "true",
        "QDRANT__TLS__CERT": str(certificate),
        "QDRANT__TLS__KEY": str(certificate.with_suffix(".key")),
    }
