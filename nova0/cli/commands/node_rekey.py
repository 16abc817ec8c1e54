"""Give this machine a new key while it works; its old one is put out of the cluster for good.

Do it when the key may be known to others, and on one of two copies of a machine (a clone, a restored disk): the
other is out then. A controller certifies the new key over the old session. All nova0 processes of this machine
change together and calls under way are not lost; streams break. With nova0 stopped, it is done at its next start.

Example:
    $ sudo nova0 node rekey
    key 66545a1eb493 is now 69f8074c70ba (certificate 2); the old one is out
"""

import argparse

JSON = True


def configure(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> int:
    from nova0.cli import mesh_door, processes, settings
    from nova0.cli.failure import Failure
    from nova0.cli.output import show_json
    from nova0.mesh.identity import is_member
    from nova0.mesh.rekeying import WANTED

    state_path = settings.state_path(args)
    if not any(processes.holder(state_path, name) for name in ("host", "controller")):
        folder = state_path / "mesh"
        if not is_member(folder):
            raise Failure(f"{folder}: this machine is in no cluster: there is no key to change")
        (folder / WANTED).touch(mode=0o600)
        if args.json:
            show_json({"at_next_start": True})
        else:
            print("nova0 does not run here: the key is changed at its next start (`nova0 up`)")
        return 0
    with mesh_door.local_node(args) as node:
        done = node.order("rekey")
    if args.json:
        show_json(done)
        return 0
    out = "the old one is out" if done["retired"] else "the old one goes out as soon as a controller is reached"
    print(f"key {done['before'][:12]} is now {done['key'][:12]} (certificate {done['serial']}); {out}")
    return 0
