"""The host can run the image's architecture, hypervisor type and vm mode."""

from __future__ import annotations

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request


class ImagePropertiesFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        properties = request.image.properties if request.image else {}
        wanted = [properties.get(name) for name in ("hw_architecture", "img_hv_type", "hw_vm_mode")]
        if not any(wanted):
            return True
        supported = host.state.supported or [(host.state.arch, host.state.hypervisor_type.lower(), "hvm")]
        return any(
            all(want is None or want.lower() == has.lower() for want, has in zip(wanted, offer, strict=True))
            for offer in supported
        )
