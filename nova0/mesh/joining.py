"""How a machine becomes a member: mint a token on a controller, join with it on the newcomer."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

import zmq

from nova0.mesh import identity, keys, tokens
from nova0.mesh.addresses import own_address, parse_seed, remembered_ports
from nova0.mesh.certificate import Certificate, Chain, Roots, verify
from nova0.mesh.door import AskCert, AskJoin, Knock, Shown
from nova0.mesh.entitlement import check_grant
from nova0.mesh.errors import Incompatible, JoinRefused, MeshError, Unreachable
from nova0.mesh.keys import write_public
from nova0.mesh.settings import MeshSettings
from nova0.mesh.tokens import FileTokenBook, Seed, TokenBook
from nova0.mesh.tombstones import Tombstones
from nova0.mesh.wire import MAX_MEMBERS, Seen, apart, common_protocol, encode

LOG = logging.getLogger(__name__)


def mint_token(
    settings: MeshSettings,
    *,
    roles: tuple[str, ...] = ("host",),
    host: str | None = None,
    uses: int = 1,
    lifetime_s: float = 3600,
    topics: tuple[str, ...] = (),
    book: TokenBook | None = None,
) -> str:
    """A token for `uses` newcomers with these roles; `settings` are those of the controller process of
    this machine, which must have been started once. `topics`: what they may answer besides those of their roles and
    of any member. Raises JoinRefused where it cannot sign, BadArguments for a topic that cannot be given so."""
    check_grant(roles, topics)
    me = identity.load(settings.state_dir)
    me.signer()
    port = settings.door_port or remembered_ports(Path(settings.state_dir), settings.process)[3]
    if not port:
        raise JoinRefused(f"{settings.node} has no door yet: start it first, then mint the token")
    seeds = [Seed(own_address(settings), port, me.pair.public)]
    return tokens.mint(
        book or FileTokenBook(settings.state_dir),
        me.cluster,
        seeds,
        roles=roles,
        host=host,
        uses=uses,
        lifetime_s=lifetime_s,
        minted_by=settings.node,
        topics=topics,
        root=(me.roots.key, me.roots.version) if me.roots.version > 1 else (b"", 1),
    )


def join(settings: MeshSettings, token: str) -> None:
    """Make this machine, under the name `settings.host`, a member. `settings.join` gives further
    addresses of the token's controllers. Blocks a few seconds at most. Raises JoinRefused (token, name),
    Unreachable (no controller answers)."""
    state_dir = Path(settings.state_dir)
    _set_aside_if_put_out(state_dir)
    if identity.is_member(state_dir):
        raise JoinRefused(f"{settings.host} is in a cluster already; `nova0 leave` takes it out")
    told = tokens.parse(token)
    pair = keys.node_key(state_dir)
    places = [(seed.address, seed.door_port, seed.key) for seed in told.seeds]
    for text in settings.join:
        places += [(*parse_seed(text), seed.key) for seed in told.seeds]
    context = zmq.Context(io_threads=1)
    problems: list[str] = []
    try:
        for address, port, key in places:
            try:
                shown = _ask(context, pair, _numeric(address), port, key, told, settings)
                break
            except Unreachable as error:
                problems.append(error.message)
        else:
            raise Unreachable(f"no controller of the token answers: {'; '.join(problems)}. Is it up, is the port open?")
    finally:
        context.destroy(0)
    assert shown.yours is not None
    mine = _believed(shown.yours, told)
    if mine.key != pair.public or mine.host != settings.host:
        raise JoinRefused(f"{settings.host}: the certificate handed out is not for this machine; join again")
    for seen in [Seen(shown.card, "unknown"), *shown.members][:MAX_MEMBERS]:
        if seen.card.node == shown.card.node:
            write_public(state_dir / "peers" / seen.card.node.replace("/", "~"), encode((shown.chain, seen.card)))
    identity.store(state_dir, told.cluster, shown.yours)


def _set_aside_if_put_out(state_dir: Path) -> None:
    """A key that was put out never comes back: it and what went with it make room for a new one."""
    if not identity.is_member(state_dir):
        return
    me = identity.load(state_dir)
    if Tombstones(me).of(me.chain) is None:
        return
    aside = state_dir / f"put-out-{me.certificate.serial}-{keys.key_name(me.pair.public)}"
    aside.mkdir(mode=0o700)
    for name in ("node.cert", "node.key", "vouch.key", "signer.key", "root.key", "root.pub", "peers", "tombstones"):
        if (state_dir / name).exists():
            (state_dir / name).rename(aside / name)
    LOG.warning("%s: the key that was put out lies in %s now; joining with a new one", me.certificate.host, aside)


def _ask(
    context: zmq.Context,
    pair: keys.CurvePair,
    address: str,
    port: int,
    key: bytes,
    told: tokens.Token,
    settings: MeshSettings,
) -> Shown:
    vouch = keys.public_of(keys.vouching_key(Path(settings.state_dir)))
    with Knock(context, pair, address, port, key, settings.handshake_s) as knock:
        shown = knock.ask(AskCert())
        theirs = _believed(shown.chain, told)
        if theirs.key != key or "controller" not in theirs.roles:
            raise JoinRefused(f"{address}:{port} is no controller of this cluster; nothing secret was sent to it")
        if not common_protocol(settings.speaks, shown.card.speaks):
            raise Incompatible(apart(settings.node, settings.speaks, shown.card.node, shown.card.speaks))
        try:
            return knock.ask(AskJoin(told.token_id, told.secret, settings.host, vouch))
        except JoinRefused:
            raise
        except Unreachable:
            raise
        except MeshError as error:
            raise JoinRefused(f"{address}:{port}: {error.message}") from None


def _believed(chain: Chain, told: tokens.Token) -> Certificate:
    """Whose chain it is, if it leads to the token's cluster by way of the root the token names. Raises JoinRefused."""
    certificate, _ = verify(chain, Roots((told.cluster,)))
    roots = Roots((told.cluster,)).follow(chain.roots)
    if told.root and told.root != dict(enumerate(roots.keys, 1)).get(told.root_version):
        raise JoinRefused("the controller shows another root than the token names: it may be of somebody else")
    return certificate


def _numeric(address: str) -> str:
    try:
        return str(socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise Unreachable(f"{address}: {error}") from None
