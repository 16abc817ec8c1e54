"""Taking users and projects out of the books with all that hangs on them. Inside a store closure.

What costs something (servers, images, networks) is never left without an owner, nor destroyed unsaid: a project that
still has any stays.
"""

from __future__ import annotations

from nova0.controller.db.compute_tables import InstanceRow, KeypairRow, QuotaRow, ServerGroupRow
from nova0.controller.db.identity_tables import ApplicationCredentialRow, AssignmentRow, ProjectRow, UserRow
from nova0.controller.db.image_tables import ImageMemberRow, ImageRow
from nova0.controller.db.network_tables import NetworkRow, PortRow, SecurityGroupRow, SecurityGroupRuleRow, SubnetRow


class StillUsed(Exception):
    """The message says by what."""


def user(user_id: str) -> None:
    """Servers are their project's and stay; key pairs are the user's."""
    KeypairRow.delete().where(KeypairRow.user_id == user_id).execute()
    AssignmentRow.delete().where(AssignmentRow.user_id == user_id).execute()
    ApplicationCredentialRow.delete().where(ApplicationCredentialRow.user_id == user_id).execute()
    UserRow.delete().where(UserRow.id == user_id).execute()


def project(project_id: str) -> None:
    """Raises StillUsed."""
    left = ", ".join(f"{number} {what}" for what, number in holds(project_id).items() if number)
    if left:
        raise StillUsed(f"Project {project_id} still has {left}: delete them first (`openstack project cleanup`).")
    groups = SecurityGroupRow.select(SecurityGroupRow.id).where(SecurityGroupRow.project_id == project_id)
    rules = SecurityGroupRuleRow
    rules.delete().where(rules.security_group_id.in_(groups) | rules.remote_group_id.in_(groups)).execute()
    for table in (SecurityGroupRow, ServerGroupRow, QuotaRow):
        table.delete().where(table.project_id == project_id).execute()
    ImageMemberRow.delete().where(ImageMemberRow.member_id == project_id).execute()
    assignments("project", project_id)
    ApplicationCredentialRow.delete().where(ApplicationCredentialRow.project_id == project_id).execute()
    UserRow.update(default_project_id=None).where(UserRow.default_project_id == project_id).execute()
    ProjectRow.delete().where(ProjectRow.id == project_id).execute()


def holds(project_id: str) -> dict[str, int]:
    """What of it keeps a project from being deleted, by kind."""
    ports = PortRow.select().where(PortRow.project_id == project_id, ~PortRow.made_by_us)  # others go with servers
    return {
        "servers": InstanceRow.select()
        .where(InstanceRow.project_id == project_id, InstanceRow.deleted_at.is_null())
        .count(),
        "images": ImageRow.select().where(ImageRow.owner == project_id, ImageRow.deleted_at.is_null()).count(),
        "ports": ports.count(),
        "subnets": SubnetRow.select().where(SubnetRow.project_id == project_id).count(),
        "networks": NetworkRow.select().where(NetworkRow.project_id == project_id).count(),
        "security groups": SecurityGroupRow.select()
        .where(SecurityGroupRow.project_id == project_id, SecurityGroupRow.name != "default")
        .count(),
    }


def assignments(target_type: str, target_id: str) -> None:
    """Every role on a project or domain."""
    AssignmentRow.delete().where(
        AssignmentRow.target_type == target_type, AssignmentRow.target_id == target_id
    ).execute()
