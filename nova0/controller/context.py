"""Who is asking, for the length of one API request."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class RequestContext:
    """`roles` are effective ones (admin implies manager implies member implies reader)."""

    request_id: str  # req-<uuid4>
    user_id: str = ""
    user_name: str = ""
    project_id: str = ""
    project_name: str = ""
    roles: frozenset[str] = field(default_factory=frozenset)
    global_request_id: str = ""
    traceparent: str = ""  # our span of the trace this request belongs to (nova0.trace)

    @property
    def is_admin(self) -> bool:
        return "admin" in self.roles

    def can_see(self, project_id: str) -> bool:
        """Objects of another project do not exist for anyone but an admin; who has no project owns nothing."""
        return self.is_admin or (bool(self.project_id) and project_id == self.project_id)
