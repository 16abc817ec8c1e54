"""The host can run the image's architecture, hypervisor type, vm mode and hypervisor version."""

from __future__ import annotations

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request
from nova0.controller.scheduler.versions import satisfies

_NAMES = ("hw_architecture", "img_hv_type", "hw_vm_mode", "img_hv_requested_version")


class ImagePropertiesFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        architecture, kind, mode, version = self.key(request)
        if version and not satisfies(host.state.hypervisor_version, version):
            return False
        wanted = (architecture, kind, mode)
        if not any(wanted):
            return True
        supported = host.state.supported or [(host.state.arch, host.state.hypervisor_type.lower(), "hvm")]
        return any(
            all(want is None or want.lower() == has.lower() for want, has in zip(wanted, offer, strict=True))
            for offer in supported
        )

    def applies(self, request: Request) -> bool:
        return any(self.key(request))

    def key(self, request: Request) -> tuple[str | None, ...]:
        return tuple(request.image_properties.get(name) for name in _NAMES)
