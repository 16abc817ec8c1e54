"""Look whether this machine can do its part, and say what to do where it can't.

KVM, rights on libvirt, bridges and br_netfilter, multicast, free ports, disk, memory, clock, packages, keys, a host's
records of its servers, guests that are kept though the cloud disowns them; on a controller also its store, and what
hosts said of themselves. Changes nothing. Exit code 1 when something keeps servers from running here.

Example:
    $ nova0 doctor
    SUBJECT  STATE    FOUND                          REMEDY
    KVM      warning  KVM does not answer; emulating guests run emulated, slower; ...
    dnsmasq  blocks   not installed (DHCP)           apt-get install --no-install-recommends dnsmasq-base
"""

import argparse

JSON = True


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fake", action="store_true", help="look only at what `nova0 up --fake` needs")


def run(args: argparse.Namespace) -> int:
    from dataclasses import asdict
    from pathlib import Path

    from nova0.cli import processes, role, settings
    from nova0.cli.checks import (
        BLOCKS,
        Look,
        confinement,
        guests,
        kvm,
        links,
        membership,
        packages,
        records,
        reports,
        room,
        store,
    )
    from nova0.cli.output import show_json, show_table

    conf = settings.load(args)
    state_path = Path(conf.state_path)
    stored = role.load(state_path)
    options = stored.environment if stored else {}
    look = Look(
        state_path,
        port=int(options.get("NOVA0_API__OSAPI_LISTEN_PORT", 8774)),
        listen=options.get("NOVA0_API__OSAPI_LISTEN", "127.0.0.1"),
        running=processes.holder(state_path, "up") is not None,
        fake=args.fake or conf.compute_driver == "fake" or options.get("NOVA0_COMPUTE_DRIVER") == "fake",
    )
    subjects = (kvm, packages, links, room, membership, guests, confinement, store, records, reports)
    findings = [finding for subject in subjects for finding in subject.check(look)]
    if args.json:
        show_json([asdict(finding) for finding in findings])
    else:
        show_table(
            ["SUBJECT", "STATE", "FOUND", "REMEDY"],
            [[finding.subject, finding.level, finding.found, finding.remedy] for finding in findings],
        )
    return 1 if any(finding.level == BLOCKS for finding in findings) else 0
