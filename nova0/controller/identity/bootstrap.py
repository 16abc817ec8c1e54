"""What a new cloud starts with: the default domain, projects, users and roles. Safe to run at every start."""

from __future__ import annotations

import uuid

from nova0.controller.db.identity_tables import AssignmentRow, DomainRow, ProjectRow, RoleRow, UserRow
from nova0.controller.db.store import Store
from nova0.controller.identity import passwords

ROLES = ("admin", "manager", "member", "reader", "service")
PROJECTS = {
    "admin": "Projects of the cloud's administrators.",
    "demo": "A project to start with.",
    "service": "Services of the cloud.",
}
DOMAIN_ID = "default"
_USERS = (("admin", "admin", "admin"), ("admin", "demo", "admin"), ("demo", "demo", "member"))


def bootstrap(store: Store, password: str, demo_password: str | None = None) -> None:
    """Make what is missing; `password` is given to users admin and demo where they are made now, never logged;
    `demo_password`, where given, to demo.

    An existing user's password stays.
    """
    hashed = passwords.hash_password(password)  # slow on purpose: outside the transaction
    hashes = {"admin": hashed, "demo": passwords.hash_password(demo_password) if demo_password else hashed}

    def closure() -> None:
        DomainRow.insert(id=DOMAIN_ID, name="Default", description="The default domain").on_conflict_ignore().execute()
        for name in ROLES:
            if RoleRow.get_or_none(RoleRow.name == name) is None:
                RoleRow.create(id=uuid.uuid4().hex, name=name)
        for name, description in PROJECTS.items():
            if _named(ProjectRow, name) is None:
                ProjectRow.create(id=uuid.uuid4().hex, name=name, domain_id=DOMAIN_ID, description=description)
        for name in ("admin", "demo"):
            if _named(UserRow, name) is None:
                UserRow.create(
                    id=uuid.uuid4().hex,
                    name=name,
                    domain_id=DOMAIN_ID,
                    password_hash=hashes[name],
                    default_project_id=_named(ProjectRow, name).id,
                )
        for user, project, role in _USERS:
            _assign(_named(UserRow, user).id, "project", _named(ProjectRow, project).id, role)
        _assign(_named(UserRow, "admin").id, "system", "all", "admin")
        _assign(_named(UserRow, "admin").id, "domain", DOMAIN_ID, "admin")

    store.write(closure)


def _named(table: type, name: str):  # type: ignore[no-untyped-def]
    return table.get_or_none(table.name == name, table.domain_id == DOMAIN_ID)  # type: ignore[attr-defined]


def _assign(user_id: str, target_type: str, target_id: str, role: str) -> None:
    AssignmentRow.insert(
        user_id=user_id,
        target_type=target_type,
        target_id=target_id,
        role_id=RoleRow.get(RoleRow.name == role).id,
    ).on_conflict_ignore().execute()
