"""What a member may make without end keeps neither the loop nor the store when it is listed or forgotten."""

import gc

import gevent
import pytest
from served import PASSWORD, login
from test_budget import LOOP_S, STORE_S, crowd_of

from nova0.controller.db.compute_tables import ActionRow
from nova0.controller.db.identity_tables import RevokedTokenRow
from nova0.controller.identity.tokens import Tokens


@pytest.mark.slow
def test_no_member_makes_a_list_long_enough_to_keep_the_loop_or_the_store(tmp_path):
    """Images of many projects, sorted by much; what was asked of one server, by the ten thousand."""
    crowd = crowd_of(tmp_path, 10, 1, 1, images=5_000)
    crowd.ask("POST", "/identity/v3/auth/tokens", login("demo", "demo", PASSWORD))
    one = crowd.servers[0]
    asked = [
        {"instance_uuid": one, "action": "pause", "request_id": f"req-{number}", "start_time": float(number)}
        for number in range(50_000)
    ]
    for at in range(0, len(asked), 1000):
        crowd.store.write(lambda piece=asked[at : at + 1000]: ActionRow.insert_many(piece).execute())
    keys = "%2C".join(["name", "status", "disk_format", "size", "created_at", "owner", "visibility", "min_ram"] * 4)
    over = []
    gc.collect()
    gc.freeze()
    try:
        with crowd.stretches:
            for version, path in (
                ("2.1", f"/image/v2/images?limit=1&sort={keys}"),
                ("2.1", "/v2.1/images/detail?sort_key=name"),
                ("2.1", f"/v2.1/servers/{one}/os-instance-actions"),
                ("2.100", f"/v2.1/servers/{one}/os-instance-actions"),
                ("2.100", f"/v2.1/servers/{one}/os-instance-actions?limit=10&marker=req-25000"),
            ):
                status, loop_s, store_s = crowd.measured("GET", path, version=version)
                assert status == 200, path
                if loop_s > LOOP_S or store_s > STORE_S:
                    over.append(f"{path}: loop {loop_s * 1000:.0f} ms, store {store_s * 1000:.0f} ms at a stretch")
    finally:
        gc.unfreeze()
        crowd.store.close()
    assert over == []


@pytest.mark.slow
def test_tokens_taken_back_are_forgotten_in_pieces(tmp_path):
    crowd = crowd_of(tmp_path, 1, 1, 1)
    crowd.ask("POST", "/identity/v3/auth/tokens", login("demo", "demo", PASSWORD))
    tokens = Tokens(crowd.store, tmp_path)
    ended = [{"audit_id": f"{number:024x}", "expires_at": 1.0, "forget_at": -1.0} for number in range(200_000)]
    for at in range(0, len(ended), 1000):
        crowd.store.write(lambda piece=ended[at : at + 1000]: RevokedTokenRow.insert_many(piece).execute())
    with crowd.stretches:
        crowd.stretches.reset()
        gevent.spawn(tokens.revoke, crowd.token).get()
        assert crowd.stretches.store_s < STORE_S
    left = crowd.store.read(lambda: RevokedTokenRow.select().count())
    crowd.store.close()
    assert left < 200_000
