"""What a certificate lets a node answer, cast on and hear. The one rule, for callers and callees alike.

- A topic that a surface declares (`Surface.served_by`) is answered by nodes with one of those certified roles,
  whatever else their certificate says: neither `*` nor the topic's name there stands in for the role.
- A topic `user/...` is any member's; of a user's agent those its certificate names.
- Any other topic is answered by a node whose certificate names it; `*`, which earlier certificates have, does not.

A card is what a node says of itself. It counts for nothing here.
"""

from __future__ import annotations

from collections.abc import Iterable

from nova0.mesh.certificate import USERS, Certificate, has_topic
from nova0.mesh.errors import BadArguments
from nova0.mesh.surface import Role, declared

MOST_TOPICS = 16  # that a token can give
MESH = "mesh"  # the topic every node answers by itself
LONGEST_TOPIC = 64  # characters, of one it can give
MOST_NAMED = 8  # topics named in one line for people


def may_answer(certificate: Certificate, topic: str) -> bool:
    """May calls to `topic` go to this key, and are its answers believed?"""
    if certificate.process and topic != MESH and not has_topic(certificate, topic):
        return False
    known = declared(topic)
    if known is not None:
        return _has_one(certificate, known.served_by)
    return _is_named(certificate, topic)


def may_cast(certificate: Certificate, topic: str, *, neighbour: bool = False) -> bool:
    """Are its casts on `topic` (without @host) heard, and its counts of them believed? Which method it may cast is
    looked at with each. `neighbour`: it is of this machine."""
    known = declared(topic)
    if certificate.process and not has_topic(certificate, topic):
        return False
    if known is not None:
        return _has_one(certificate, known.casters) or (neighbour and Role.SELF in known.casters)
    return _is_named(certificate, topic)


def may_hear(certificate: Certificate, topic: str) -> bool:
    """Does it get what is cast on `topic` or topic@host? Who may answer it (of a topic that takes a role: there),
    and who the surface says hears it besides."""
    name, _, host = topic.partition("@")
    if certificate.process and not has_topic(certificate, name):
        return False
    known = declared(name)
    if known is not None and _has_one(certificate, known.heard_by):
        return True
    elsewhere = host not in ("", certificate.host) and known is not None and Role.MEMBER not in known.served_by
    return not elsewhere and may_answer(certificate, name)


def _has_one(certificate: Certificate, roles: Iterable[str]) -> bool:
    return Role.MEMBER in roles or any(role in roles for role in certificate.roles)


def _is_named(certificate: Certificate, topic: str) -> bool:
    if topic.startswith(USERS):
        return not certificate.process or has_topic(certificate, topic)
    return topic in certificate.topics and topic != "*"


def split(certificate: Certificate, topics: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those it may answer, and the others."""
    all_of_them = tuple(topics)
    may = tuple(topic for topic in all_of_them if may_answer(certificate, topic))
    return may, tuple(topic for topic in all_of_them if topic not in may)


def says(certificate: Certificate) -> str:
    """What counts here of a certificate, for people."""
    roles = ", ".join(certificate.roles) or "none"
    return f"roles: {roles}; topics: {named(certificate.topics)}"


def named(topics: Iterable[str]) -> str:
    """A few of them, as one line that is safe to print."""
    all_of_them = list(topics)
    some = [repr(t[:LONGEST_TOPIC])[1:-1] for t in all_of_them[:MOST_NAMED]]
    more = [f"and {len(all_of_them) - MOST_NAMED} more"] if len(all_of_them) > MOST_NAMED else []
    return ", ".join(some + more) or "none"


def remedy(topic: str) -> str:
    """What a person does who wants it answered by a machine that may not."""
    known = declared(topic)
    if known is None:
        return f"Begin the topic with {USERS}, or join this machine with a token of `nova0 token --topic {topic}`"
    roles = " or ".join(sorted(known.served_by))
    return f"It takes role {roles}: `nova0 down --purge`, then join with a token for that (`nova0 token --role`)"


def check_grant(roles: Iterable[str], topics: Iterable[str]) -> None:
    """May a token give a machine of these roles these topics besides those of its roles? Raises BadArguments."""
    wanted, has = list(topics), set(map(str, roles)) | {str(Role.MEMBER)}
    if len(wanted) > MOST_TOPICS:
        raise BadArguments(f"a token gives at most {MOST_TOPICS} topics, not {len(wanted)}", field="topic")
    for topic in wanted:
        known = declared(topic)
        if topic.startswith(USERS):
            raise BadArguments(f"topic {topic!r}: any member's already, as it begins with {USERS}", field="topic")
        if not topic or not topic.isascii() or not topic.isprintable() or set(topic) & set("@* ,"):
            raise BadArguments(f"topic {topic!r}: a name without '@', '*', ',' and spaces, in ASCII", field="topic")
        if len(topic) > LONGEST_TOPIC:
            raise BadArguments(f"topic {topic[:20]!r}...: at most {LONGEST_TOPIC} characters", field="topic")
        if known is not None and known.served_by.isdisjoint(has):
            needed = " or ".join(sorted(known.served_by))
            raise BadArguments(f"topic {topic!r} is answered by a {needed}, not by a {', '.join(roles)}", field="topic")
