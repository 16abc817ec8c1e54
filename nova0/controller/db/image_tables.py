"""Tables of the image service; the bytes are files named by image id."""

from __future__ import annotations

from peewee import BigIntegerField, BooleanField, CharField, FloatField, IntegerField

from nova0.controller.db.base_table import JsonField, Table, new_id, now


class ImageRow(Table):
    id = CharField(primary_key=True, default=new_id)
    name = CharField(null=True)
    status = CharField(default="queued", index=True)
    visibility = CharField(default="shared")
    owner = CharField(null=True, index=True)
    protected = BooleanField(default=False)
    hidden = BooleanField(default=False)
    disk_format = CharField(null=True)
    container_format = CharField(null=True)
    size = BigIntegerField(null=True)
    virtual_size = BigIntegerField(null=True)
    checksum = CharField(null=True)  # md5, the field's `checksum`
    sha512 = CharField(null=True)  # os_hash_value
    min_disk = IntegerField(default=0)
    min_ram = IntegerField(default=0)
    tags = JsonField(default=list)
    properties = JsonField(default=dict)
    created_at = FloatField(default=now, index=True)
    updated_at = FloatField(default=now)
    deleted_at = FloatField(null=True, index=True)

    class Meta:
        table_name = "image"


class ImageMemberRow(Table):
    image_id = CharField(index=True)
    member_id = CharField(index=True)
    status = CharField(default="pending")
    created_at = FloatField(default=now)
    updated_at = FloatField(default=now)

    class Meta:
        table_name = "image_member"
        indexes = ((("image_id", "member_id"), True),)


TABLES = [ImageRow, ImageMemberRow]
