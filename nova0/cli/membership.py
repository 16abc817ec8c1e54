"""Tokens and joining for the commands: what the mesh does, said in this machine's terms."""

from __future__ import annotations

from pathlib import Path

from nova0.cli import processes
from nova0.cli.failure import Failure

LIFETIME_S = 3600.0


def mint(
    state_path: Path,
    *,
    uses: int = 1,
    lifetime_s: float = LIFETIME_S,
    host: str | None = None,
    roles: tuple[str, ...] = ("host",),
    topics: tuple[str, ...] = (),
) -> str:
    """A new join token, good at this controller. Failure elsewhere, while the controller is down, or where these
    topics cannot be given."""
    from nova0.agents import bundles
    from nova0.mesh import joining
    from nova0.mesh.errors import BadArguments

    facts = processes.facts(state_path, "controller")
    if facts is None:
        raise Failure("no controller runs here: mint tokens on the controller (`nova0 agents` shows where it is)")
    settings = bundles.mesh_settings("controller", ("controller",))
    settings.door_port = int(facts["door_port"])
    try:
        return joining.mint_token(settings, uses=uses, lifetime_s=lifetime_s, host=host, roles=roles, topics=topics)
    except BadArguments as error:
        raise Failure(f"--topic: {error.message}", code=2) from None


def join(token: str) -> None:
    """Make this machine a member under its host name. Raises JoinRefused, Unreachable or Failure, with the remedy."""
    from nova0.agents import bundles
    from nova0.mesh import identity, joining, tokens

    folder = bundles.mesh_dir()
    holds = identity.is_member(folder) and any((bundles.state_dir() / "instances-records").glob("*.json"))
    if holds and identity.load(folder).cluster != tokens.parse(token).cluster:  # it was put out of the one it is in
        raise Failure(
            "guests of the cluster that this machine was put out of are here: `nova0 leave --without-controller` "
            "removes them, then join another"
        )
    joining.join(bundles.mesh_settings("host", ("host",)), token)
