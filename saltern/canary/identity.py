"""Canaries of Keystone: project, user, and a credential that Keystone keeps encrypted."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, ClassVar

import keystoneauth1.exceptions

from saltern.canary.types import DATA, LOST, STATE, UNKNOWN, Canary, CanaryError, NotOursError
from saltern.canary.work import PROJECT, USER, Kind, Work
from saltern.sanity.client import sentence
from saltern.sanity.s3 import Credential as Signer

#: What the user may do in the project.
ROLE = "member"
#: Whatever the site asks of people: the canary's password never ends by itself.
OPTIONS = {
    "ignore_password_expiry": True,
    "ignore_user_inactivity": True,
    "ignore_change_password_upon_first_use": True,
    "ignore_lockout_failure_attempts": True,
}


def _adopted(work: Work, found: Any) -> Any:
    """Return the one thing of our name when it is ours, None when there is none.

    :raises NotOursError: it is somebody else's
    """
    one = next(iter(found), None)
    if one is not None and not work.ours(one):
        raise NotOursError(
            STATE,
            f"a thing of that name ({one.id}) is there, and the journal does not know it",
            cure="If it is left of canaries whose journal was lost, remove it by hand",
        )
    return one


class Project(Kind):
    """The project that everything else belongs to."""

    name = PROJECT

    def find(self, work: Work) -> Any:
        """Find it by name."""
        api = work.admin.cloud.identity
        named = Canary(self.name).name
        return _adopted(work, api.projects(name=named, domain_id=work.domain))

    def make(self, work: Work) -> Any:
        """Make it as the administrator."""
        return work.admin.cloud.identity.create_project(
            name=Canary(self.name).name,
            domain_id=work.domain,
            description=work.described(self.name),
        )

    def get(self, work: Work, id: str) -> Any:
        """Read it as the administrator."""
        return work.admin.cloud.identity.get_project(id)

    def facts(self, work: Work, found: Any) -> dict[str, Any]:
        """Name, domain, enabled."""
        return {
            "name": found.name,
            "domain": found.domain_id,
            "enabled": bool(found.is_enabled),
            "description": found.description,
        }

    def check(self, work: Work, canary: Canary, found: Any) -> str:
        """Nothing more: who works in it is the user's."""
        return "there and enabled"

    def delete(self, work: Work, id: str) -> None:
        """Remove it as the administrator."""
        work.admin.cloud.identity.delete_project(id, ignore_missing=True)


class User(Kind):
    """The user that all else is made as; its password comes from the site key."""

    name = USER
    needs = (PROJECT,)

    def find(self, work: Work) -> Any:
        """Find it by name."""
        api = work.admin.cloud.identity
        return _adopted(work, api.users(name=Canary(self.name).name, domain_id=work.domain))

    def make(self, work: Work) -> Any:
        """Make it as the administrator."""
        return work.admin.cloud.identity.create_user(
            name=Canary(self.name).name,
            domain_id=work.domain,
            password=work.password,
            description=work.described(self.name),
            options=OPTIONS,
        )

    def ready(self, work: Work, found: Any) -> Any:
        """Give it its role, and let it log in."""
        api = work.admin.cloud.identity
        role = api.find_role(ROLE, ignore_missing=False)
        api.assign_project_role_to_user(work.id(PROJECT), found, role)
        work.forget_login()
        work.mine  # noqa: B018  it logs in
        return found

    def get(self, work: Work, id: str) -> Any:
        """Read it as the administrator."""
        return work.admin.cloud.identity.get_user(id)

    def facts(self, work: Work, found: Any) -> dict[str, Any]:
        """Name, domain, enabled, roles in the project."""
        api = work.admin.cloud.identity
        given = api.role_assignments(user_id=found.id, scope_project_id=work.id(PROJECT))
        return {
            "name": found.name,
            "domain": found.domain_id,
            "enabled": bool(found.is_enabled),
            "roles": sorted(one.role["id"] for one in given),
        }

    def check(self, work: Work, canary: Canary, found: Any) -> str:
        """It logs in with its password, into the project that was made with it."""
        try:
            session = work.login().session
        except keystoneauth1.exceptions.Unauthorized as err:
            why = f"it cannot log in with its password: {sentence(err)}"
            raise CanaryError(DATA, why) from None
        pair = (session.get_user_id(), session.get_project_id())
        if pair != (canary.id, work.id(PROJECT)):
            raise CanaryError(LOST, f"its name and password belong to {pair[0]} in {pair[1]}")
        return "logs in with its password"

    def delete(self, work: Work, id: str) -> None:
        """Remove it as the administrator."""
        work.admin.cloud.identity.delete_user(id, ignore_missing=True)
        work.forget_login()


class Credential(Kind):
    """An EC2 credential: Keystone keeps it encrypted, with keys that a rollout may lose."""

    name = "credential"
    needs = (PROJECT, USER)
    codes: ClassVar[Mapping[str, str]] = {"digest of the secret": DATA}

    def _url(self, work: Work, id: str = "") -> str:
        url = work.target.credentials.url.rstrip("/")
        return f"{url}/users/{work.id(USER)}/credentials/OS-EC2{'/' if id else ''}{id}"

    def find(self, work: Work) -> Any:
        """Return the first one in the project."""
        found = work.mine.session.get(self._url(work)).json()["credentials"]
        here = [one for one in found if one["tenant_id"] == work.id(PROJECT)]
        return _credential(here[0]) if here else None

    def make(self, work: Work) -> Any:
        """Make it as the user."""
        body = {"tenant_id": work.id(PROJECT)}
        answer = work.mine.session.post(self._url(work), json=body)
        return _credential(answer.json()["credential"])

    def get(self, work: Work, id: str) -> Any:
        """Read it as the user, decrypted."""
        answer = work.mine.session.get(self._url(work, id))
        return _credential(answer.json()["credential"])

    def facts(self, work: Work, found: Any) -> dict[str, Any]:
        """Project, and a digest that tells nothing of the secret's 128 random bits."""
        salted = f"{work.flock.seed} {found.secret}".encode()
        return {
            "project": found.project,
            "digest of the secret": hashlib.sha256(salted).hexdigest()[:16],
        }

    def check(self, work: Work, canary: Canary, found: Any) -> str:
        """Nothing more: the object store uses it."""
        return "brought, with the same secret"

    def delete(self, work: Work, id: str) -> None:
        """Remove it as the user."""
        try:
            work.hand.session.delete(self._url(work, id))
        except keystoneauth1.exceptions.NotFound:
            return


def _credential(known: dict[str, str]) -> SimpleNamespace:
    return SimpleNamespace(id=known["access"], project=known["tenant_id"], secret=known["secret"])


def signer(work: Work) -> Signer:
    """Return what requests to the object store are signed with.

    :raises CanaryError: the credential is not there yet, or not any more
    """
    kind = Credential()
    try:
        found = kind.get(work, work.id(kind.name))
    except keystoneauth1.exceptions.NotFound:
        name = Canary(kind.name).name
        raise CanaryError(UNKNOWN, f"not asked, for {name} is not there") from None
    return Signer(found.id, found.secret)
