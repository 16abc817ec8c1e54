"""What a node may lend to whom it asks for."""

from __future__ import annotations

import pytest
from cluster import Cluster
from contract import until

from nova0.mesh.bus import Status
from nova0.mesh.errors import NotAllowed
from nova0.mesh.surface import CONTROLLER, HOST, MEMBER, OPERATOR, SELF, Surface, call

EVERYTHING = ("member", "operator", "self", "host", "controller")


class DeskAPI(Surface):
    topic = "user/desk"

    @call(allow=MEMBER, repeatable=True)
    def roles(self) -> list: ...

    @call(allow=OPERATOR)
    def order(self) -> str: ...

    @call(allow=(CONTROLLER, HOST, SELF))
    def inner(self) -> str: ...


class Desk(DeskAPI):
    def __init__(self, bus):
        self.bus = bus

    def roles(self):
        return list(self.bus.caller().roles)

    def order(self):
        return "done"

    def inner(self):
        return "done"


@pytest.mark.design("O8")
def test_a_controller_lends_member_and_operator_and_others_member_only(tmp_path):
    cluster = Cluster(tmp_path)
    controller = cluster.bus("lab0", "controller", ("controller",))
    beside = cluster.bus("lab0", "host", ("controller",))  # another process of the same machine
    away = cluster.bus("lab1", "host", ("host",))
    try:
        for node in (controller, beside, away):
            node.offer(Desk(node))
            node.start()
        for node in (controller, away):
            until(lambda node=node: sum(m.status == Status.UP and bool(m.topics) for m in node.members()) == 3, 20)
        for target in ("lab0/controller", "lab0/host", "lab1/host"):

            def ask(node, method, lent=EVERYTHING, target=target):
                return node.asking.call(target, method, {}, timeout_s=20, lent=lent)

            assert ask(controller, "roles") == ["member", "operator"] and ask(controller, "order") == "done"
            assert ask(away, "roles") == ["member"]
            assert ask(controller, "roles", ("member",)) == ["member"]
            for node, method in ((controller, "inner"), (away, "inner"), (away, "order")):
                with pytest.raises(NotAllowed):
                    ask(node, method)
    finally:
        cluster.close()
