"""A node that calls the others and is called, and writes down both sides; for runs under faults.

Started with one JSON argument (see `main`). Says READY, DONE when its share of the calls has ended, and after
SIGUSR1 REACH with the outcome of one call to every host. Killed and started again it goes on where it was:
what it had asked under an id of its own and not heard the end of, it asks again.
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import logging  # noqa: E402
import os  # noqa: E402
import random  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from hashlib import blake2b  # noqa: E402
from pathlib import Path  # noqa: E402

import gevent  # noqa: E402
from gevent.event import Event  # noqa: E402

from nova0.mesh.errors import MeshError  # noqa: E402
from nova0.mesh.node import Node  # noqa: E402
from nova0.mesh.settings import MeshSettings  # noqa: E402
from nova0.mesh.surface import MEMBER, SHORT, Surface, call  # noqa: E402

SIZES = (10, 10, 200, 200, 200, 2_000, 60_000, 300_000)  # bytes of an argument
PATIENCE_S = 8.0


class LedgerAPI(Surface):
    topic = "ledger"
    served_by = MEMBER

    @call(allow=MEMBER)
    def put(self, call: str, body: bytes, work_s: float) -> dict: ...

    @call(allow=MEMBER, repeatable=True, timeout=SHORT)
    def get(self, call: str, body: bytes, work_s: float) -> dict: ...


class History:
    """Appends events; also what this process finds of its own earlier lives."""

    def __init__(self, path: Path) -> None:
        self.before = []
        if path.exists():
            for line in path.read_bytes().split(b"\n"):
                try:
                    self.before.append(json.loads(line))
                except ValueError:
                    continue
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(self._file, b"\n")  # ends a line cut off by a kill

    def write(self, kind: str, **fields) -> None:
        os.write(self._file, json.dumps({"e": kind, "t": time.monotonic(), **fields}).encode() + b"\n")


class Ledger(LedgerAPI):
    """The callee: every execution is on file before its effect, which is the value it answers."""

    def __init__(self, node: Node, history: History) -> None:
        self._node, self._history, self._number = node, history, 0

    def put(self, call, body, work_s):
        return self._run(call, body, work_s)

    def get(self, call, body, work_s):
        return self._run(call, body, work_s)

    def _run(self, call, body, work_s):
        caller = self._node.caller()
        self._number += 1
        number = self._number
        self._history.write(
            "run", node=self._node.node, boot=self._node.boot, number=number, caller=caller.node,
            id=caller.request_id, call=call, hash=hashed(call, body),
        )  # fmt: skip
        if work_s:
            gevent.sleep(work_s)
        return {"call": call, "stamp": f"{self._node.node}:{self._node.boot}:{number}", "body": body[: len(body) // 2]}


def hashed(call: str, body: bytes) -> str:
    return blake2b(call.encode() + b"\0" + body, digest_size=8).hexdigest()


class Caller:
    """`quota` calls over all lives of this host, `rate` a second, `most` at once."""

    def __init__(self, node: Node, history: History, words: dict) -> None:
        self._node, self._history, self._words = node, history, words
        self._hosts = [host for host in words["hosts"] if host != node.host]
        first = [e for e in history.before if e["e"] == "begin" and e["try"] == 1 and "reach" not in e["call"]]
        self._asked = len(first)
        self._open = self._unfinished()
        self._reached = 0

    def _unfinished(self):
        """Calls under an id of ours whose end an earlier life of this process did not hear."""
        open_ = {}
        for event in self._history.before:
            if event["e"] == "begin" and event["id"] and event["to"]:
                open_[event["call"]] = event
            elif (event["e"] == "end" and event["outcome"] != "CallTimeout") or event["e"] == "ack":
                open_.pop(event["call"], None)
        return list(open_.values())

    def run(self) -> None:
        pool = gevent.pool.Pool(self._words["most"])
        for event in self._open:
            pool.spawn(self._shielded, self._again, event)
        start, here = time.monotonic(), 0
        while self._asked < self._words["quota"]:
            gevent.sleep(max(0.0, start + here / self._words["rate"] - time.monotonic()))
            here += 1
            self._asked += 1
            pool.spawn(self._shielded, self._one, self._asked)
        pool.join()

    def _shielded(self, function, *args) -> None:
        try:
            function(*args)
        except Exception:
            logging.exception("a caller failed")

    def _made(self, number: int, boot: int):
        """Everything about one call follows from its name, so that a later life can ask it again."""
        name = f"{self._node.node}#{boot}#{number}"
        chance = random.Random(f"{self._words['seed']} {name}")
        repeatable = chance.random() < 0.4
        given = not repeatable and chance.random() < 0.6
        to = "" if chance.random() < 0.3 else chance.choice(self._hosts)
        work_s = chance.choice((0, 0, 0, 0, 0, 0, 0.02, 0.2, 1.5))
        body = chance.randbytes(chance.choice(SIZES))
        id_ = f"job-{boot}-{number}" if given else ""  # other callers use the same ids for other work
        return name, repeatable, id_, to, work_s, body, chance

    def _again(self, event) -> None:
        _, boot, number = event["call"].split("#")
        name, repeatable, id_, to, work_s, body, chance = self._made(int(number), int(boot))
        assert event["hash"] == hashed(name, body)
        self._until_known(name, repeatable, id_, to, work_s, body, chance, event["try"] + 1)

    def _one(self, number: int) -> None:
        self._until_known(*self._made(number, self._node.boot), 1)

    def _until_known(self, name, repeatable, id_, to, work_s, body, chance, number) -> None:
        for _ in range(10):
            outcome = self._try(name, repeatable, id_, to, work_s, body, number)
            if not id_ or outcome not in ("CallTimeout", "Busy", "Unreachable"):
                break
            if outcome != "CallTimeout" and chance.random() < 0.5:
                break
            number += 1
            gevent.sleep(chance.uniform(0.2, 2))
        if id_ and outcome == "ok" and chance.random() < 0.2:  # its answer is kept until we say that we have it
            self._try(name, repeatable, id_, to, work_s, body, number + 1)
        if id_ and outcome in ("ok", "OutcomeUnknown"):
            self._history.write("ack", node=self._node.node, call=name)  # it is never asked again
            self._node.acknowledge([id_])

    def _try(self, name, repeatable, id_, to, work_s, body, number) -> str:
        self._history.write(
            "begin", node=self._node.node, call=name, **{"try": number}, id=id_, repeatable=repeatable,
            hash=hashed(name, body), to=to,
        )  # fmt: skip
        value = ""
        try:
            stub = self._node.stub(LedgerAPI, to or None, request_id=id_ or None, timeout_s=PATIENCE_S)
            answer = (stub.get if repeatable else stub.put)(name, body, work_s)
            outcome, value = "ok", {"call": answer["call"], "stamp": answer["stamp"]}
            if answer["body"] != body[: len(body) // 2]:
                outcome = "other bytes came back"
        except MeshError as error:
            outcome, value = error.kind, error.message
        except Exception as error:
            logging.exception("%s raised", name)
            outcome, value = type(error).__name__, str(error)
        self._history.write("end", node=self._node.node, call=name, **{"try": number}, outcome=outcome, value=value)
        return outcome

    def reach(self) -> None:
        """One call to every other host, said on stdout."""
        self._reached += 1
        found = {}
        for host in self._hosts:
            name = f"{self._node.node}#{self._node.boot}#reach {host} {self._reached}"
            found[host] = self._try(name, True, "", host, 0.0, b"", 1)
        print("REACH", json.dumps(found), flush=True)


def main() -> None:
    """{"settings": MeshSettings, "history": path, "hosts", "quota", "rate", "most", "seed"}"""
    logging.basicConfig(
        level="INFO", stream=sys.stderr, format="%(relativeCreated)d %(levelname)s %(name)s %(message)s"
    )
    words = json.loads(sys.argv[1])
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in words["settings"].items()}
    history = History(Path(words["history"]))
    node = Node(MeshSettings(**settings))
    node.offer(Ledger(node, history))
    ended = Event()
    gevent.signal_handler(signal.SIGTERM, ended.set)
    node.start()
    history.write("boot", node=node.node, boot=node.boot)
    print("READY", flush=True)
    caller = Caller(node, history, words)
    gevent.signal_handler(signal.SIGUSR1, lambda: gevent.spawn(caller.reach))
    work = gevent.spawn(caller.run)
    work.link_value(lambda _: print("DONE", flush=True))
    ended.wait()
    node.stop()


if __name__ == "__main__":
    import gevent.pool

    main()
