"""RSA key pairs of a lab's master and minions, laid down on both sides before the first start."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

#: Salt's own default. A minion checks its key in each connection that a job makes, two or three of
#: them, with a processor's 50 ms for a key of 2048 bits, 160 ms for one of 3072.
BITS = 2048


def new_pair() -> tuple[bytes, bytes]:
    """Return a new RSA key pair as PEM: private (PKCS#1, as Salt writes it) and public."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=BITS)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private, public


def write_private(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a file that only its owner can read, from its first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)


def ensure_pair(directory: Path, name: str) -> tuple[bytes, bytes]:
    """Return the key pair ``name`` of a lab, made on first use.

    :param directory: where the lab keeps its keys; only root may look into it
    :param name: minion id, or ``master``
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    private, public = directory / f"{name}.pem", directory / f"{name}.pub"
    if not (private.exists() and public.exists()):
        pem, pub = new_pair()
        write_private(private, pem)
        public.write_bytes(pub)
    return private.read_bytes(), public.read_bytes()


def seed_minion(root: Path, minion: tuple[bytes, bytes], master_public: bytes) -> None:
    """Lay a minion's keys down in its root file system, and the master's public key.

    :param root: root file system of the host
    :param minion: its key pair
    :param master_public: what the master must prove to own
    """
    pki = root / "etc/salt/pki/minion"
    pki.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(pki / "minion.pem", minion[0], 0o400)
    (pki / "minion.pub").write_bytes(minion[1])
    (pki / "minion_master.pub").write_bytes(master_public)


def seed_master(root: Path, master: tuple[bytes, bytes], minions: dict[str, bytes]) -> None:
    """Lay the master's keys and the accepted minions' public keys down.

    :param root: root file system of the master's host
    :param master: its key pair
    :param minions: minion id -> public key
    """
    pki = root / "etc/salt/pki/master"
    (pki / "minions").mkdir(parents=True, exist_ok=True)
    pki.chmod(0o700)
    write_private(pki / "master.pem", master[0], 0o400)
    (pki / "master.pub").write_bytes(master[1])
    accept(root, minions)


def accept(root: Path, minions: dict[str, bytes]) -> None:
    """Lay public keys of minions down as accepted; what the master had of them gives way.

    :param root: root file system of the master's host
    :param minions: minion id -> public key
    """
    pki = root / "etc/salt/pki/master"
    for name, public in minions.items():
        for place in ("minions_pre", "minions_denied", "minions_rejected"):
            (pki / place / name).unlink(missing_ok=True)
        (pki / "minions" / name).write_bytes(public)
