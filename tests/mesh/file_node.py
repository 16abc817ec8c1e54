"""A node as a process of its own that offers files of its machine and fetches those of others."""

import hashlib
from pathlib import Path

import gevent
from stream_node import main  # patches, before anything of nova0

from nova0.mesh.streams.files import FileOffer, Files
from nova0.mesh.surface import LONG, MEMBER, Surface, call


class FilesAPI(Surface):
    topic = "files"
    served_by = MEMBER

    @call(allow=MEMBER, timeout=LONG, repeatable=True)
    def offer(self, path: str) -> FileOffer: ...

    @call(allow=MEMBER, timeout=LONG, repeatable=True)
    def bring(self, path: str, theirs: str, hosts: list[str]) -> str:
        """Fetch `theirs` of those hosts to `path`; SHA-256 of what came."""
        ...


class FilesAgent(FilesAPI):
    def __init__(self, bus):
        self.bus, self.files = bus, Files(bus)

    def offer(self, path):
        return self.files.offer(Path(path))

    def bring(self, path, theirs, hosts):
        asking = {h: lambda h=h: self.bus.stub(FilesAPI, h).offer(theirs) for h in hosts}
        first = asking[hosts[0]]()
        sources = {h: lambda ask=ask: ask().ticket for h, ask in asking.items()}

        def tell(done, of):
            print(f"{done} of {of}", flush=True)
            gevent.sleep(0.1)  # a reader slow enough to be killed in the middle
            while Path(f"{path}.hold").exists():
                gevent.sleep(0.05)

        self.files.fetch(Path(path), first.size, first.digest, sources, on_progress=tell)
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()


if __name__ == "__main__":
    main(FilesAgent)
