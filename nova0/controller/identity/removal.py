"""Taking users and projects out of the books with all that hangs on them. Inside a store closure."""

from __future__ import annotations

from nova0.controller.db.identity_tables import ApplicationCredentialRow, AssignmentRow, ProjectRow, UserRow


def user(user_id: str) -> None:
    AssignmentRow.delete().where(AssignmentRow.user_id == user_id).execute()
    ApplicationCredentialRow.delete().where(ApplicationCredentialRow.user_id == user_id).execute()
    UserRow.delete().where(UserRow.id == user_id).execute()


def project(project_id: str) -> None:
    assignments("project", project_id)
    ApplicationCredentialRow.delete().where(ApplicationCredentialRow.project_id == project_id).execute()
    UserRow.update(default_project_id=None).where(UserRow.default_project_id == project_id).execute()
    ProjectRow.delete().where(ProjectRow.id == project_id).execute()


def assignments(target_type: str, target_id: str) -> None:
    """Every role on a project or domain."""
    AssignmentRow.delete().where(
        AssignmentRow.target_type == target_type, AssignmentRow.target_id == target_id
    ).execute()
