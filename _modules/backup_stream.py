"""
What happens to a stream on its way out of a host, and back in
===============================================================

Out: a program's output, through ``zstd``, through ``gpg`` (OpenPGP with a passphrase, AES-256),
to whoever sends it; nothing of it touches the disk, and the plain bytes and the sent ones are
both measured. In: the same backwards. The key comes from one file that only root reads; it is in
no argument, environment or log.
"""

import contextlib
import hashlib
import hmac
import os
import subprocess
import tempfile
import threading

from salt.exceptions import CommandExecutionError

__virtualname__ = "backup_stream"

_PART = 1 << 20
# Backups are done beside a service that has users.
_GENTLY = ("nice", "-n", "10")


def __virtual__():
    return __virtualname__


def sign(purpose, text=""):
    """
    Return an HMAC-SHA256 as hexadecimal digits, with a key that is made from the host's for a
    purpose.

    purpose
        What it is for; two purposes never have the same key
    text
        Text or bytes

    CLI Example:

    .. code-block:: bash

        salt inf01.example.test backup_stream.sign saltern-backup-key
    """
    purpose, text = (x.encode() if isinstance(x, str) else x for x in (purpose, text))
    return hmac.new(hmac.digest(_key(), purpose, "sha256"), text, "sha256").hexdigest()


def pack(source, send):
    """
    Compress and encrypt one stream while it is sent.

    source
        A command, whose output is the stream, as a list; or an open file
    send
        Is called once with an iterator of bytes, which raises when the stream broke off

    Returns ``{"size", "sha256", "stored_size", "stored_sha256"}``. Raises CommandExecutionError.

    CLI Example:

    .. code-block:: bash

        salt-run backup.take
    """
    level = __salt__["backup_client.settings"]()["compression"]
    plain, sealed, sizes = hashlib.sha256(), hashlib.sha256(), [0, 0]
    with contextlib.ExitStack() as stack:
        errors = stack.enter_context(tempfile.TemporaryFile())
        producer = None
        if isinstance(source, (list, tuple)):
            command = [*_GENTLY, *source]
            producer = _started(stack, command, stderr=errors, stdin=subprocess.DEVNULL)
        stream = producer.stdout if producer else source
        zstd = [*_GENTLY, "zstd", "-q", f"-{level}", "-c"]
        packer = _started(stack, zstd, stdin=subprocess.PIPE)
        locker = _locked(stack, "--symmetric", packer.stdout)

        def feed():
            # a pipe that breaks is told by whoever broke it
            with contextlib.suppress(BrokenPipeError, ValueError), packer.stdin as sink:
                for part in iter(lambda: stream.read(_PART), b""):
                    plain.update(part)
                    sizes[0] += len(part)
                    sink.write(part)

        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()

        def parts():
            for part in iter(lambda: locker.stdout.read(_PART), b""):
                sealed.update(part)
                sizes[1] += len(part)
                yield part
            feeder.join()
            # raised before the end of the transfer: a stream that broke off is not stored
            for process, what in ((producer, source), (packer, ["zstd"]), (locker, ["gpg"])):
                if process is not None and process.wait():
                    raise CommandExecutionError(_why(what[0], process.returncode, errors))

        send(parts())
    return {
        "size": sizes[0],
        "sha256": plain.hexdigest(),
        "stored_size": sizes[1],
        "stored_sha256": sealed.hexdigest(),
    }


def digest(command):
    """
    Run a program and measure what it says: ``{"size", "sha256"}``. Nothing of it is kept.

    command
        As a list

    Raises CommandExecutionError when it fails.

    CLI Example:

    .. code-block:: bash

        salt inf01.example.test backup_stream.digest '[uname, -a]'
    """
    found, size = hashlib.sha256(), 0
    with contextlib.ExitStack() as stack:
        errors = stack.enter_context(tempfile.TemporaryFile())
        process = _started(stack, [*_GENTLY, *command], stderr=errors, stdin=subprocess.DEVNULL)
        for part in iter(lambda: process.stdout.read(_PART), b""):
            found.update(part)
            size += len(part)
        if process.wait():
            raise CommandExecutionError(_why(command[0], process.returncode, errors))
    return {"size": size, "sha256": found.hexdigest()}


def unpack(file, command=None, **more):
    """
    Decrypt and unpack one stream into a program.

    file
        Path of what was sent
    command
        Program that reads it from its input, as a list; None: nobody does
    more
        For ``subprocess.Popen``: ``cwd``, ``stdout``

    Returns ``{"size", "sha256", "said": the program's output, its first 64 KiB}``; both are what
    came out, to be compared by the caller. Raises CommandExecutionError when it cannot be
    decrypted or the program fails.

    CLI Example:

    .. code-block:: bash

        salt-run backup.verify galera.server/inf01…/20260101T0Z-full-1a2b
    """
    digest, size, broken = hashlib.sha256(), 0, False
    with contextlib.ExitStack() as stack:
        errors = stack.enter_context(tempfile.TemporaryFile())
        output = stack.enter_context(tempfile.TemporaryFile())
        locker = _locked(stack, "--decrypt", stack.enter_context(open(file, "rb")))
        packer = _started(stack, [*_GENTLY, "zstd", "-q", "-d", "-c"], stdin=locker.stdout)
        locker.stdout.close()
        reader = None
        if command is not None:
            more = {"stdout": output, "stderr": errors, **more}
            reader = _started(stack, [*_GENTLY, *command], stdin=subprocess.PIPE, **more)
        for part in iter(lambda: packer.stdout.read(_PART), b""):
            digest.update(part)
            size += len(part)
            try:
                if reader:
                    reader.stdin.write(part)
            except BrokenPipeError:
                broken = True
                break
        if not broken and (locker.wait() or packer.wait()):
            raise CommandExecutionError(
                f"{os.path.basename(file)} cannot be decrypted with this host's key, or is damaged."
            )
        if reader:
            with contextlib.suppress(BrokenPipeError):
                reader.stdin.close()
            if reader.wait() or broken:
                raise CommandExecutionError(_why(command[0], reader.returncode, errors))
        output.seek(0)
        said = output.read(1 << 16).decode(errors="replace")
    return {"size": size, "sha256": digest.hexdigest(), "said": said}


def _key():
    file = __salt__["backup_client.settings"]()["key_file"]
    try:
        with open(file, "rb") as stream:
            key = stream.read().strip()
    except OSError as err:
        raise CommandExecutionError(f"{file} cannot be read: {err.strerror}.") from None
    if len(key) < 32 or b"\n" in key:
        raise CommandExecutionError(f"{file} is no key: it has less than 32 characters.")
    return key


def _started(stack, command, **more):
    try:
        process = subprocess.Popen(command, **{"stdout": subprocess.PIPE, **more})
    except OSError as err:
        raise CommandExecutionError(f"{command[0]} cannot be run: {err.strerror}.") from None
    stack.callback(_end, process)
    return process


def _end(process):
    """Nothing that was started outlives the call, however that ends."""
    if process.poll() is None:
        process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def _locked(stack, way, source):
    """Start gpg with the key on a pipe of its own: not in its arguments, environment or a file."""
    home = stack.enter_context(tempfile.TemporaryDirectory())
    key = _key()
    read, write = os.pipe()
    try:
        os.write(write, key + b"\n")
        os.close(write)
        return _started(
            stack,
            [
                *_GENTLY, "gpg", "--no-options", "--homedir", home, "--batch", "--no-tty",
                "--quiet",
                # by itself: no agent is started, and nothing is remembered
                "--no-autostart", "--pinentry-mode", "loopback", "--no-symkey-cache",
                "--passphrase-fd", str(read), "--cipher-algo", "AES256",
                # the key is random: to stretch it would only take time
                "--s2k-mode", "3", "--s2k-digest-algo", "SHA512", "--s2k-count", "65536",
                "--compress-algo", "none", "--output", "-", way,
            ],
            stdin=source, stderr=subprocess.DEVNULL, pass_fds=(read,),
        )  # fmt: skip
    finally:
        os.close(read)


def _why(program, code, errors):
    errors.seek(0, os.SEEK_END)
    errors.seek(max(0, errors.tell() - 2000))
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return f"{program} failed ({code}): {lines[-1][:300] if lines else 'it does not say why'}"
