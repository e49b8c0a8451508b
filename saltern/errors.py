"""One family of errors: each carries a code, one sentence, where it happened and the cure.

The codes are a closed list; ``docs/reference/codes.md`` has one heading per code.
"""

from __future__ import annotations


class SalternError(Exception):
    """Base of every error that an operator may see.

    :param sentence: what is wrong, in one sentence without a trailing full stop
    :param where: file, class chain, node, host or key it was found at (may be empty)
    :param cure: what to do about it, as an imperative sentence (may be empty)
    """

    code = "error"
    #: process exit code: 1 failed, 2 refused before anything was touched
    exit_code = 1

    def __init__(self, sentence: str, *, where: str = "", cure: str = "") -> None:
        self.sentence = sentence.rstrip(".")
        self.where = where
        self.cure = cure.rstrip(".")
        super().__init__(str(self))

    def __str__(self) -> str:
        text = f"{self.where}: {self.sentence}" if self.where else self.sentence
        return f"{text}. {self.cure}." if self.cure else f"{text}."


class ModelError(SalternError):
    """The model cannot be compiled: unknown class or reference, bad merge, bad YAML."""

    code = "model"
    exit_code = 2


class SchemaError(ModelError):
    """A node's data does not fit the schema of one of its roles."""

    code = "schema"


class UnknownNodeError(ModelError):
    """A minion that no served revision has: nothing vouches for it."""


class JournalError(SalternError):
    """The journal database is missing, locked, broken or of another version of Saltern."""

    code = "journal"
    exit_code = 2


class SecretError(SalternError):
    """A secret is missing, or cannot be decrypted."""

    code = "secret"
    exit_code = 2


class PreflightError(SalternError):
    """Something the work needs is missing; nothing was touched."""

    code = "preflight"
    exit_code = 2


class LabError(SalternError):
    """A lab host could not be built, started, reached or stopped."""

    code = "lab"


class ArtifactError(SalternError):
    """An artifact could not be resolved, built, verified or switched."""

    code = "artifact"


class ReleaseError(SalternError):
    """The release catalogue contradicts itself, or a request names what it does not have."""

    code = "release"
    exit_code = 2


class HopError(ReleaseError):
    """A plan would move a release in a way that the catalogue does not allow."""

    code = "hop"


class BusError(SalternError):
    """The Salt bus did not answer as asked: a silent minion, a refused publish."""

    code = "bus"


class StageError(SalternError):
    """A deployment stage failed on a host, or its validation did."""

    code = "stage"


class PlanError(SalternError):
    """A plan cannot be made, read or applied; nothing was touched."""

    code = "plan"
    exit_code = 2


class RolloutError(SalternError):
    """A rollout stopped: over its failure budget, or a step whose outcome is unknown."""

    code = "rollout"


class LockedError(SalternError):
    """Another rollout works on the same failure domain or role."""

    code = "locked"
    exit_code = 2


class GateError(SalternError):
    """A gate refused; nothing was changed."""

    code = "gate"
    exit_code = 2


class BackupError(SalternError):
    """A backup, its verification or a restore did not succeed."""

    code = "backup"


class BackupRefusedError(BackupError):
    """What was asked of the backups cannot be done with what there is; nothing was touched."""

    code = "backup-refused"
    exit_code = 2


class RehearsalError(SalternError):
    """A rehearsal of an upgrade could not be carried out to its end; production is untouched."""

    code = "rehearsal"


class RehearsalRefusedError(RehearsalError):
    """An upgrade that must be rehearsed was not, or what was asked cannot be rehearsed."""

    code = "rehearsal-refused"
    exit_code = 2
