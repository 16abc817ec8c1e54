"""Tables of the identity service."""

from __future__ import annotations

from peewee import AutoField, BooleanField, CharField, FloatField, TextField

from nova0.controller.db.base_table import JsonField, Table, new_id, now


class DomainRow(Table):
    id = CharField(primary_key=True, default=new_id)
    name = CharField(unique=True)
    description = TextField(default="")
    enabled = BooleanField(default=True)

    class Meta:
        table_name = "domain"


class ProjectRow(Table):
    id = CharField(primary_key=True)
    name = CharField()
    domain_id = CharField(default="default")
    description = TextField(default="")
    enabled = BooleanField(default=True)
    tags = JsonField(default=list)
    created_at = FloatField(default=now)

    class Meta:
        table_name = "project"
        indexes = ((("domain_id", "name"), True),)


class UserRow(Table):
    id = CharField(primary_key=True)
    name = CharField()
    domain_id = CharField(default="default")
    password_hash = CharField(null=True)  # argon2id
    enabled = BooleanField(default=True)
    email = CharField(null=True)
    description = TextField(null=True)
    default_project_id = CharField(null=True)
    tokens_not_before = FloatField(default=0.0)  # of stores before `token_series`: tokens issued earlier are void
    token_series = CharField(default="")  # drawn anew with a new password, or a disabling: tokens of another are void
    created_at = FloatField(default=now)

    class Meta:
        table_name = "user"
        indexes = ((("domain_id", "name"), True),)


class RoleRow(Table):
    id = CharField(primary_key=True)
    name = CharField(unique=True)
    description = TextField(null=True)

    class Meta:
        table_name = "role"


class AssignmentRow(Table):
    """A role of a user on a project, a domain or the system."""

    id = AutoField()
    user_id = CharField(index=True)
    target_type = CharField()  # project | domain | system
    target_id = CharField()
    role_id = CharField()

    class Meta:
        table_name = "role_assignment"
        indexes = ((("user_id", "target_type", "target_id", "role_id"), True),)


class RevokedTokenRow(Table):
    """Tokens taken back before their time. Kept until no clock could show them unexpired: `forget_at` is by the
    store's steady clock, `expires_at` as the token itself says."""

    audit_id = CharField(primary_key=True)
    expires_at = FloatField(index=True)
    forget_at = FloatField(default=14400.0, index=True)

    class Meta:
        table_name = "revoked_token"


class ApplicationCredentialRow(Table):
    id = CharField(primary_key=True, default=new_id)
    name = CharField()
    user_id = CharField(index=True)
    project_id = CharField()
    secret_hash = CharField()
    roles = JsonField()
    description = TextField(null=True)
    unrestricted = BooleanField(default=False)
    expires_at = FloatField(null=True)
    created_at = FloatField(default=now)

    class Meta:
        table_name = "application_credential"
        indexes = ((("user_id", "name"), True),)


TABLES = [DomainRow, ProjectRow, UserRow, RoleRow, AssignmentRow, RevokedTokenRow, ApplicationCredentialRow]
