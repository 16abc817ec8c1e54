"""What a boot says of its disks, checked and brought into one form. Plain data: no store.

There is no block storage yet, so the one disk a server can have is its image's, local to its host.
"""

from __future__ import annotations

from typing import Any

from nova0.controller.compute.refusals import BadRequest

_NO_VOLUMES = "nova0 has no block storage yet: boot from an image to a local disk (destination_type local)"


def normalised(image_id: str, v1: list[dict[str, Any]], v2: list[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """(image id, devices). The image may be named only in the mapping. Raises BadRequest."""
    if v1 and v2:
        raise BadRequest("Using different block_device_mapping syntaxes is not allowed in the same request.")
    if v1:
        raise BadRequest(f"block_device_mapping: {_NO_VOLUMES}.")
    roots = []
    for at, device in enumerate(v2):
        field = f"block_device_mapping_v2.{at}"
        source, destination = device.get("source_type", "blank"), device.get("destination_type")
        if (
            source in ("volume", "snapshot")
            or destination == "volume"
            or "volume_id" in device
            or "snapshot_id" in device
        ):
            raise BadRequest(f"{field}: {_NO_VOLUMES}.")
        if source == "blank":
            raise BadRequest(f"{field}: nova0 makes no blank local disks yet; leave source_type blank out.")
        if not device.get("uuid"):
            raise BadRequest(f"{field}: source_type image needs the image's uuid.")
        if _index(device, field) != 0:
            raise BadRequest(f"{field}: a local disk from an image must be the root: boot_index 0.")
        roots.append(device)
    if len(roots) > 1:
        raise BadRequest(
            "Block Device Mapping is Invalid: Boot sequence for the instance and image/block device mapping "
            "combination is not valid."
        )
    if roots and image_id and roots[0]["uuid"] != image_id:
        raise BadRequest("Block Device Mapping is Invalid: its root image is not the one of imageRef.")
    image_id = image_id or (roots[0]["uuid"] if roots else "")
    if not image_id:
        raise BadRequest("Missing imageRef attribute")
    root: dict[str, Any] = {
        "source_type": "image",
        "destination_type": "local",
        "uuid": image_id,
        "boot_index": 0,
        "delete_on_termination": True,
    }
    given = {key: value for key, value in (roots[0] if roots else {}).items() if value is not None}
    return image_id, [{**root, **given, "boot_index": 0, "destination_type": "local"}]


def _index(device: dict[str, Any], field: str) -> int:
    index = device.get("boot_index")
    if index is None or index == "None":
        return -1
    try:
        return int(index)
    except (TypeError, ValueError):
        raise BadRequest(f"{field}.boot_index: {index!r} is no number.") from None
