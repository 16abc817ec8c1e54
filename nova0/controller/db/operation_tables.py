"""Durable work: an operation is a row that outlives every process, its steps are recorded when done."""

from __future__ import annotations

from peewee import AutoField, CharField, FloatField, IntegerField, TextField

from nova0.controller.db.base_table import JsonField, Table, new_id, now


class OperationRow(Table):
    """One piece of work on one subject. `fence` grows each time a conductor takes it up; every write of
    a step compares it, so that an owner who lost it can change nothing."""

    id = AutoField()
    uuid = CharField(unique=True, default=new_id)
    kind = CharField()  # boot, delete, start, ...: a file of controller/conductor
    subject = CharField(index=True)  # instance uuid
    state = CharField(default="ready", index=True)  # ready | running | undoing | done | failed
    step = CharField(null=True)  # the step to be done next; None: the first
    attempt = IntegerField(default=0)  # of that step
    data = JsonField(default=dict)  # what the request said and what steps found
    request_id = CharField()
    user_id = CharField(default="")
    project_id = CharField(default="")
    owner = CharField(null=True)
    lease_until = FloatField(null=True)  # by the store's steady clock, as `not_before`
    fence = IntegerField(default=0)
    error = TextField(null=True)
    not_before = FloatField(default=0.0)  # a step that waits (for a host to return) sets it
    created_at = FloatField(default=now)
    finished_at = FloatField(null=True)

    class Meta:
        table_name = "operation"


class OutboxRow(Table):
    """A notification that must not be lost, kept until it was told."""

    id = AutoField()
    event_type = CharField()
    payload = JsonField()
    created_at = FloatField(default=now)

    class Meta:
        table_name = "outbox"


class FactRow(Table):
    """Single values of the store itself: store_id, commit_mark, schema notes."""

    name = CharField(primary_key=True)
    value = JsonField()

    class Meta:
        table_name = "fact"


TABLES = [OperationRow, OutboxRow, FactRow]
