"""GnuPG as a subprocess: decrypt what the model holds, encrypt what it generates.

Clear text travels through pipes only: never an argument, a file or a log line.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from saltern.errors import SecretError

#: seconds one gpg call may take
TIMEOUT = 60

# Curve25519: keys appear in milliseconds even where entropy is scarce.
_KEY_SCRIPT = """\
%no-protection
Key-Type: EDDSA
Key-Curve: Ed25519
Key-Usage: sign
Subkey-Type: ECDH
Subkey-Curve: Curve25519
Subkey-Usage: encrypt
Name-Real: {name}
Expire-Date: 0
%commit
"""

#: (home, digest of the ciphertext) -> clear text, the latest used last; lives with the process
_clear: OrderedDict[tuple[str, bytes], str] = OrderedDict()
#: more secrets than a large site has
_KEPT = 20_000


class Gpg:
    """One GnuPG home directory.

    :param home: directory of the key ring (0700, owned by the calling user)
    :param binary: the gpg program
    """

    def __init__(self, home: str | Path, binary: str = "gpg") -> None:
        self.home = Path(home)
        self.binary = binary

    def decrypt(self, ciphertext: str) -> str:
        """Return the clear text of one armoured message; asked again, gpg is not run.

        :param ciphertext: from ``-----BEGIN PGP MESSAGE-----`` to its END line
        :raises SecretError: the home is missing, or no key in it opens the message
        """
        key = (str(self.home), hashlib.sha256(ciphertext.encode()).digest())
        if key not in _clear:
            if not self.home.is_dir():
                raise SecretError(
                    "the GPG home does not exist",
                    where=str(self.home),
                    cure="Run `saltern model secrets init` or copy the master's key ring there",
                )
            _clear[key] = self._run(
                ["--decrypt"], ciphertext, f"cannot decrypt a secret with the keys in {self.home}"
            )
            if len(_clear) > _KEPT:
                _clear.popitem(last=False)
        _clear.move_to_end(key)
        return _clear[key]

    def encrypt(self, text: str, recipients: Sequence[str]) -> str:
        """Return an armoured message for the recipients, without a trailing newline.

        :param text: clear text
        :param recipients: key ids or fingerprints in this home
        :raises SecretError: unknown recipient
        """
        arguments = ["--armor", "--trust-model", "always", "--encrypt"]
        for recipient in recipients:
            arguments += ["--recipient", recipient]
        return self._run(arguments, text, f"cannot encrypt for {', '.join(recipients)}").strip()

    def recipients(self, ciphertext: str) -> tuple[str, ...]:
        """Return the ids of the keys that a message is encrypted for, sorted; it stays closed.

        :raises SecretError: it is no message
        """
        told = self._run(
            ["--status-fd", "1", "--list-only", "--decrypt"], ciphertext, "cannot read a message"
        )
        words = (line.split() for line in told.splitlines())
        return tuple(sorted({w[2] for w in words if w[:2] == ["[GNUPG:]", "ENC_TO"]}))

    def encryption_keys(self, recipient: str) -> tuple[str, ...]:
        """Return the ids of the (sub)keys that messages for a recipient are encrypted for.

        :param recipient: key id or fingerprint in this home
        :raises SecretError: unknown recipient, or it has no valid key for encryption
        """
        listing = self._run(
            ["--with-colons", "--list-keys", recipient], "", f"cannot find the key {recipient}"
        )
        found = []
        for line in listing.splitlines():
            fields = line.split(":")
            usable = fields[0] in ("pub", "sub") and fields[1] not in ("r", "e", "d", "i")
            if usable and "e" in fields[11]:
                found.append(fields[4])
        if not found:
            raise SecretError(f"the key {recipient} is not for encryption", where=str(self.home))
        return tuple(sorted(found))

    def secret_keys(self) -> list[str]:
        """Return the fingerprints of the secret keys in this home."""
        listing = self._run(["--with-colons", "--list-secret-keys"], "", "cannot list keys")
        keys: list[str] = []
        primary = False
        for line in listing.splitlines():
            fields = line.split(":")
            if fields[0] in ("sec", "ssb"):
                primary = fields[0] == "sec"
            elif fields[0] == "fpr" and primary:
                keys.append(fields[9])
                primary = False
        return keys

    def create_key(self, name: str) -> str:
        """Create an unprotected Curve25519 key pair and return its fingerprint.

        :param name: user id, at least five characters
        """
        self.create_home()
        self._run(["--generate-key"], _KEY_SCRIPT.format(name=name), "cannot create a key")
        return self.secret_keys()[-1]

    def create_home(self) -> None:
        """Make the home directory, for its owner only."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.home.stat().st_mode & 0o077:
            self.home.chmod(0o700)

    def stop_agent(self) -> None:
        """Stop the gpg-agent that gpg started for this home."""
        subprocess.run(
            ["gpgconf", "--homedir", str(self.home), "--kill", "gpg-agent"],
            check=False,
            capture_output=True,
            timeout=TIMEOUT,
        )

    def _run(self, arguments: Sequence[str], stdin: str, failure: str) -> str:
        command = [
            self.binary,
            "--homedir",
            str(self.home),
            "--batch",
            "--no-tty",
            "--quiet",
            "--no-permission-warning",
            *arguments,
        ]
        try:
            done = subprocess.run(
                command,
                input=stdin,
                text=True,
                capture_output=True,
                timeout=TIMEOUT,
                check=False,
                env={**os.environ, "LC_ALL": "C.UTF-8"},
            )
        except FileNotFoundError:
            raise SecretError(
                f"{self.binary} is not installed", cure="Install the package gnupg"
            ) from None
        except subprocess.TimeoutExpired:
            raise SecretError(f"{failure}: gpg did not answer in {TIMEOUT} s") from None
        if done.returncode != 0:
            # gpg's own complaint names keys, never clear text
            lines = [line for line in done.stderr.splitlines() if line.startswith("gpg: ")]
            raise SecretError(f"{failure}: {lines[-1][5:] if lines else 'gpg failed'}")
        return done.stdout
