"""The fuzz targets: every seed and some changes of it each time, the coverage-guided search for a short while."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from fuzz_targets import TARGETS, mutate

from nova0.mesh import certificate, keys, tokens
from nova0.mesh.certificate import Chain, Signed, SignerSet, issue, sign
from nova0.mesh.errors import Busy, JoinRefused, from_wire
from nova0.mesh.journal import Journal
from nova0.mesh.roster import Roster

FUZZ = Path(__file__).resolve().parents[2] / "scripts" / "fuzz"
SECONDS = 13 if os.environ.get("NOVA0_CI") else 6  # for each target: two minutes together in CI


def flipped(data, size):
    """What libFuzzer would do, in small: a byte changed, cut or put in."""
    made = bytearray(data or b"\0")
    at = random.randrange(len(made))
    made[at : at + random.randrange(2)] = random.randbytes(random.randrange(3))
    return bytes(made)[:size]


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_and_what_is_near_it_is_taken_or_refused(name):
    target = TARGETS[name]()
    random.seed(name)
    for seed in list(target.seeds()):
        target.run(seed)
        data = seed
        for step in range(40):
            data = mutate(data if step % 8 else seed, 4096, random.randrange(2**32), flipped)
            target.run(data)


@pytest.mark.design("F6")
@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_search_guided_by_coverage_finds_nothing(name, tmp_path):
    pytest.importorskip("atheris")
    done = subprocess.run(
        [sys.executable, FUZZ, "--seconds", str(SECONDS), "--corpus", tmp_path, name],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.match(rf"{name}: (\d+) inputs", done.stdout)
    assert found and int(found[1]) > 100, done.stdout


@pytest.mark.slow
def test_a_finding_is_reported_with_its_input_and_fails_the_run(tmp_path):
    """The search itself is tried: a target that must not see an 'X' is found out."""
    pytest.importorskip("atheris")
    for source in (FUZZ, Path(__file__).with_name("fuzz_targets.py")):
        home = tmp_path / ("scripts" if source is FUZZ else "tests/mesh")
        home.mkdir(parents=True)
        (home / source.name).write_bytes(source.read_bytes())
    (tmp_path / "nova0").symlink_to(FUZZ.parents[1] / "nova0")
    with open(tmp_path / "tests/mesh/fuzz_targets.py", "a") as file:
        file.write(
            "\nclass Bad:\n    def seeds(self):\n        yield b'W'\n"
            "    def run(self, data):\n        assert data[:1] != b'X'\n\nTARGETS['bad'] = Bad\n"
        )
    done = subprocess.run(
        [sys.executable, tmp_path / "scripts/fuzz", "--seconds", "60", "--corpus", tmp_path / "corpus", "bad"],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 1 and "FINDING" in done.stdout and "AssertionError" in done.stdout
    found = list((tmp_path / "corpus/bad/found").iterdir())
    assert found and found[0].read_bytes()[:1] == b"X"


# what was found, each once


def test_an_error_with_data_that_does_not_fit_is_still_that_error():
    for data in (7, [1], {"message": "again", "a": 1}, {1: 2}):
        assert isinstance(from_wire({"kind": "Busy", "message": "later", "data": data}), Busy)


@pytest.mark.parametrize("body", [b"\x91" * 1500, b"\x99\x01\xc4\x01a\xc4\x01b\xa1\xff", b""])
def test_a_certificate_that_cannot_be_read_is_refused(body):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    root, signer = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    cluster = keys.public_of(root)
    signers = sign(root, "signers", SignerSet(1, cluster, 1, [keys.public_of(signer)]))
    roots = certificate.Roots((cluster,))
    with pytest.raises(JoinRefused):
        certificate.verify(Chain(Signed(body, b"s" * 64), signers), roots)
    with pytest.raises(JoinRefused):
        certificate.read_signers(Signed(body, root.sign(b"nova0/1/signers\0" + body)), roots)
    with pytest.raises(JoinRefused):
        roots.follow([certificate.Handover(Signed(body, root.sign(b"nova0/1/root\0" + body)), b"s" * 64)])
    assert certificate.verify(Chain(issue(signer, cluster, "lab1", ("host",), b"k" * 32), signers), roots)


def test_a_token_that_is_a_deep_nest_is_none():
    import base64

    deep = msgspec.msgpack.encode([1, "ab", b"s", b"c" * 32, [["a", 1, b"k"]]])[:-1]
    text = base64.urlsafe_b64encode(b"\x96" + deep[1:] + b"\xc0" + b"\x91" * 3000).decode()
    with pytest.raises(JoinRefused):
        tokens.parse(text)


def test_a_journal_that_ends_in_blocks_never_written_is_read_up_to_them(tmp_path):
    path = tmp_path / "journal"
    first = Journal(path, "lab1/host")
    first.finish(first.begin("ctl", "a", b"1", "m")[0], True, b"\x01")
    first.close()
    path.write_bytes(path.read_bytes() + bytes(4096))
    second = Journal(path, "lab1/host")
    assert second.begin("ctl", "a", b"1", "m")[0].done.get() == (True, b"\x01")
    second.close()


@pytest.mark.parametrize("process", ["", "../../x", "a\0b", "p" * 300, "a/b", "a~b"])
def test_a_process_whose_name_would_be_a_path_is_not_known(process):
    house = TARGETS["hello"]()
    card = msgspec.structs.replace(house.card_of("lab2"), node=f"lab2/{process}")
    assert isinstance(house.roster, Roster)
    with pytest.raises(JoinRefused, match="no name"):
        house.roster.prove(house.chains["lab2"], card, card.key)
    assert house.roster.hint(card) is None
