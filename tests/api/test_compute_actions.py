"""What can be done to a server: actions, their states and races, properties, tags, history."""

import gevent
import pytest
from compute_oracle import check
from conductor_stand_in import HOST

from nova0.controller.api.compute.server_actions_unbuilt import NOT_YET
from nova0.controller.api.microversion import MAXIMUM
from nova0.controller.conductor import journal
from nova0.controller.db.compute_tables import InstanceRow
from nova0.controller.db.operation_tables import OperationRow
from nova0.mesh.errors import Unreachable
from nova0.objects.errors import InstanceNotFound, NotSupported

pytest_plugins = ("compute_cloud",)
HIGHEST = str(MAXIMUM)


@pytest.fixture
def server(cloud, compute):
    uuid = compute.boot("acted")
    yield uuid
    cloud.as_user("admin", "demo").delete(f"/v2.1/servers/{uuid}")
    compute.wait(uuid, "gone")


@pytest.mark.covers("S079", "S278")
@pytest.mark.parametrize("version", ["2.1", HIGHEST])
def test_stop_start_pause_unpause_and_both_reboots(compute, server, version):
    for action, value, status in (
        ("os-stop", None, "SHUTOFF"),
        ("os-start", None, "ACTIVE"),
        ("pause", None, "PAUSED"),
        ("unpause", None, "ACTIVE"),
        ("reboot", {"type": "SOFT"}, "ACTIVE"),
        ("reboot", {"type": "HARD"}, "ACTIVE"),
    ):
        answer = compute.act(server, action, value, version=version)
        assert answer.status_code == 202, answer.text
        assert not answer.content
        compute.wait(server, status)


@pytest.mark.covers("S079", "S281")
def test_an_action_is_refused_where_the_state_does_not_allow_it(cloud, compute, server):
    answer = compute.act(server, "os-start")
    assert answer.status_code == 409
    message = answer.json()["conflictingRequest"]["message"]
    assert message == f"Cannot 'start' instance {server} while it is in vm_state active"
    assert compute.act(server, "unpause").status_code == 409
    compute.conductor.held = True
    assert compute.act(server, "os-stop").status_code == 202
    again = compute.act(server, "os-stop")
    assert again.status_code == 409
    assert "task_state powering-off" in again.json()["conflictingRequest"]["message"]
    compute.conductor.release()
    compute.wait(server, "SHUTOFF")
    assert compute.act(server, "reboot", {"type": "SOFT"}).status_code == 409
    assert compute.act(server, "reboot", {"type": "HARD"}).status_code == 202
    compute.wait(server, "ACTIVE")


def test_malformed_actions_name_what_is_wrong(cloud, compute, server):
    path = f"/v2.1/servers/{server}/action"
    assert cloud.demo.post(path, {}).status_code == 400
    assert cloud.demo.post(path, {"os-stop": None, "os-start": None}).status_code == 400
    assert "dance" in cloud.demo.post(path, {"dance": None}).json()["badRequest"]["message"]
    assert "type" in compute.act(server, "reboot", {"type": "WARM"}).json()["badRequest"]["message"]
    assert compute.act("6d0d60e4-6b4b-4ef8-9d1e-b8a2ab0ff3a6", "os-stop").status_code == 404


@pytest.mark.covers("S079")
def test_of_a_hundred_stops_at_once_one_passes(cloud, compute, server):
    compute.conductor.held = True
    answers = [gevent.spawn(compute.act, server, "os-stop") for _ in range(100)]
    codes = sorted(one.get().status_code for one in answers)
    assert codes == [202] + [409] * 99
    stops = cloud.store.read(
        lambda: OperationRow.select().where(OperationRow.subject == server, OperationRow.kind == "stop").count()
    )
    assert stops == 1
    compute.conductor.release()
    compute.wait(server, "SHUTOFF")


@pytest.mark.covers("S397")
def test_of_a_hundred_deletes_at_once_all_are_content_and_one_works(cloud, compute):
    compute.conductor.held = True
    uuid = compute.boot("doomed", wait=False)
    answers = [gevent.spawn(cloud.demo.delete, f"/v2.1/servers/{uuid}") for _ in range(100)]
    assert {one.get().status_code for one in answers} == {204}
    deletes = cloud.store.read(
        lambda: OperationRow.select().where(OperationRow.subject == uuid, OperationRow.kind == "delete").count()
    )
    assert deletes == 1
    compute.conductor.release()
    compute.wait(uuid, "gone")
    assert cloud.demo.delete(f"/v2.1/servers/{uuid}").status_code == 404


@pytest.mark.covers("S079")
@pytest.mark.parametrize("version", ["2.1", "2.73", HIGHEST])
def test_a_lock_holds_its_owner_until_it_is_opened(cloud, compute, server, version):
    reason = {"locked_reason": "do not touch"} if version != "2.1" else None
    assert compute.act(server, "lock", reason, version=version).status_code == 202
    answer = compute.act(server, "os-stop")
    assert (answer.status_code, "locked" in answer.text) == (409, True)
    assert cloud.demo.delete(f"/v2.1/servers/{server}").status_code == 409
    shown = cloud.demo.get(f"/v2.1/servers/{server}", version=HIGHEST).json()["server"]
    assert (shown["locked"], shown["locked_reason"]) == (True, reason and "do not touch")
    assert compute.act(server, "unlock", version=version).status_code == 202
    assert compute.act(server, "os-stop").status_code == 202
    compute.wait(server, "SHUTOFF")


def test_an_admins_lock_is_not_the_owners_to_open(cloud, compute, server):
    assert compute.act(server, "lock", http=cloud.admin).status_code == 202
    assert compute.act(server, "unlock").status_code == 403
    assert compute.act(server, "unlock", http=cloud.admin).status_code == 202


def test_only_an_admin_resets_states(cloud, compute, server):
    assert compute.act(server, "os-resetState", {"state": "error"}).status_code == 403
    assert compute.act(server, "os-resetState", {"state": "error"}, http=cloud.admin).status_code == 202
    assert compute.wait(server, "ERROR")["OS-EXT-STS:vm_state"] == "error"
    assert compute.act(server, "os-resetState", {"state": "active"}, http=cloud.admin).status_code == 202
    assert compute.act(server, "os-resetState", {"state": "purple"}, http=cloud.admin).status_code == 400


@pytest.mark.covers("S238")
def test_the_console_log_comes_from_the_host(cloud, compute, server, monkeypatch):
    cloud.guests.logs[server] = b"one\ntwo\nthree\x00\n"
    told = lambda **value: check(  # noqa: E731
        "servers", "get_console_output", "2.1", compute.act(server, "os-getConsoleOutput", value)
    )["output"]
    assert told() == "one\ntwo\nthree\n"
    assert told(length=2) == "two\nthree\n"
    assert told(length="1") == "three\n"
    assert compute.act(server, "os-getConsoleOutput", {"length": "some"}).status_code == 400
    for error, code in ((InstanceNotFound(), 404), (NotSupported("no log"), 501), (Unreachable("gone"), 503)):

        def fails(*_, error=error):
            raise error

        monkeypatch.setattr(cloud.guests, "console_log", fails)
        answer = compute.act(server, "os-getConsoleOutput", {})
        assert answer.status_code == code
        assert "Traceback" not in answer.text


@pytest.mark.parametrize("action", sorted(NOT_YET))
def test_what_is_not_built_says_so_by_name(cloud, compute, server, action):
    since, _, _ = NOT_YET[action]
    answer = compute.act(server, action, {}, http=cloud.as_user("admin", "demo"), version=since)
    assert answer.status_code == 501
    assert action in answer.json()["notImplemented"]["message"]
    assert compute.act("6d0d60e4-6b4b-4ef8-9d1e-b8a2ab0ff3a6", action, {}, http=cloud.admin).status_code in (400, 404)


@pytest.mark.covers("S176")
def test_properties_are_merged_replaced_shown_and_deleted(cloud, compute, server):
    path, http = f"/v2.1/servers/{server}/metadata", cloud.demo
    told = len(cloud.guests.described)
    check("servers", "set_server_metadata", "2.1", http.put(path, {"metadata": {"a": "1", "b": "2"}}))
    merged = check("servers", "update_server_metadata", "2.1", http.post(path, {"metadata": {"b": "3", "c": "4"}}))
    assert merged["metadata"] == {"a": "1", "b": "3", "c": "4"}
    item = check("servers", "set_show_server_metadata_item", "2.1", http.put(path + "/a", {"meta": {"a": "9"}}))
    assert item["meta"] == {"a": "9"}
    assert check("servers", "set_show_server_metadata_item", "2.1", http.get(path + "/a")) == item
    check("servers", "delete_server_metadata_item", "2.1", http.delete(path + "/a"))
    listed = check("servers", "list_server_metadata", "2.1", http.get(path))
    assert listed["metadata"] == {"b": "3", "c": "4"}
    assert http.delete(path + "/a").status_code == 404
    assert http.put(path + "/x", {"meta": {"y": "1"}}).status_code == 400
    assert http.post(path, {"metadata": {"": "1"}}).status_code == 400
    assert http.post(path, {"metadata": {f"k{n}": "v" for n in range(129)}}).status_code == 403
    assert http.get(path).json()["metadata"] == {"b": "3", "c": "4"}
    assert len(cloud.guests.described) == told + 4


@pytest.mark.covers("S395")
def test_tags_are_put_found_and_removed(cloud, compute, server):
    path, http = f"/v2.1/servers/{server}/tags", cloud.demo
    assert http.get(path, version="2.25").status_code == 404
    check("servers", "update_all_tags", HIGHEST, http.put(path, {"tags": ["red", "blue"]}, version=HIGHEST))
    assert http.put(path + "/green", version="2.26").status_code == 201
    assert http.put(path + "/green", version="2.26").status_code == 204
    assert http.get(path + "/green", version="2.26").status_code == 204
    listed = check("servers", "list_tags", HIGHEST, http.get(path, version=HIGHEST))
    assert listed["tags"] == ["blue", "green", "red"]
    found = lambda query: len(http.get(f"/v2.1/servers?{query}", version="2.26").json()["servers"])  # noqa: E731
    assert (found("tags=red,blue"), found("tags=red,no"), found("tags-any=red,no")) == (1, 0, 1)
    assert http.delete(path + "/green", version="2.26").status_code == 204
    assert http.delete(path + "/green", version="2.26").status_code == 404
    assert http.put(path, {"tags": ["a/b"]}, version="2.26").status_code == 400
    assert http.put(path, {"tags": [str(n) for n in range(51)]}, version="2.26").status_code == 400
    assert http.delete(path, version="2.26").status_code == 204
    assert http.get(path, version="2.26").json()["tags"] == []
    uuid = compute.boot("tagged", version="2.52", tags=["one", "two"])
    assert http.get(f"/v2.1/servers/{uuid}", version="2.26").json()["server"]["tags"] == ["one", "two"]
    http.delete(f"/v2.1/servers/{uuid}")


@pytest.mark.covers("S173", "S174", "S069", "S362")
@pytest.mark.parametrize("version", ["2.1", "2.51", "2.58", "2.62", HIGHEST])
def test_every_action_leaves_its_record_and_steps(cloud, compute, server, version):
    for action, status in (("os-stop", "SHUTOFF"), ("os-start", "ACTIVE")):
        compute.act(server, action)
        compute.wait(server, status)
    path = f"/v2.1/servers/{server}/os-instance-actions"
    listed = check("servers", "list_instance_actions", version, cloud.demo.get(path, version=version))
    assert [one["action"] for one in listed["instanceActions"]] == ["start", "stop", "create"]
    request_id = listed["instanceActions"][1]["request_id"]
    for http in (cloud.demo, cloud.admin):
        answer = http.get(f"{path}/{request_id}", version=version)
        shown = check("servers", "show_instance_action", version, answer)["instanceAction"]
        [event] = shown["events"]
        assert (event["event"], event["result"]) == ("compute_stop", "Success")
        assert ("host" in event) is (http is cloud.admin and int(version[2:]) >= 62)
    assert cloud.demo.get(path + "/req-none", version=version).status_code == 404
    if int(version[2:]) >= 58:
        page = cloud.demo.get(path + "?limit=1", version=version).json()
        assert [one["action"] for one in page["instanceActions"]] == ["start"]
        assert page["links"][0]["rel"] == "next"
        rest = cloud.demo.get(f"{path}?marker={page['instanceActions'][0]['request_id']}", version=version).json()
        assert len(rest["instanceActions"]) == 2


def test_of_locks_and_unlocks_without_end_the_newest_are_kept(cloud, compute, monkeypatch):
    monkeypatch.setattr(journal, "KEPT_ALIKE", 3)
    uuid = compute.boot("locked")
    for _ in range(5):
        compute.act(uuid, "lock")
        compute.act(uuid, "unlock")
    path = f"/v2.1/servers/{uuid}/os-instance-actions"
    kept = [one["action"] for one in cloud.demo.get(path, version=HIGHEST).json()["instanceActions"]]
    assert kept == ["unlock", "lock"] * 3 + ["create"]
    cloud.demo.delete(f"/v2.1/servers/{uuid}")


@pytest.mark.covers("S173")
def test_actions_of_deleted_servers_show_from_2_21(cloud, compute):
    uuid = compute.boot("past")
    cloud.demo.delete(f"/v2.1/servers/{uuid}")
    compute.wait(uuid, "gone")
    path = f"/v2.1/servers/{uuid}/os-instance-actions"
    assert cloud.demo.get(path, version="2.20").status_code == 404
    assert cloud.demo.get(path, version="2.21").json()["instanceActions"][0]["action"] == "delete"


@pytest.mark.covers("S184")
def test_security_groups_go_onto_every_port_and_off_again(cloud, compute):
    group = cloud.demo.post("/network/v2.0/security-groups", {"security_group": {"name": "extra"}})
    assert group.status_code == 201, group.text
    uuid = compute.boot("grouped", networks=[{"uuid": compute.network_id}])
    assert compute.act(uuid, "addSecurityGroup", {"name": "extra"}).status_code == 202
    groups = cloud.demo.get(f"/v2.1/servers/{uuid}/os-security-groups").json()["security_groups"]
    assert "extra" in [one["name"] for one in groups]
    assert compute.network_id in cloud.guests.changed[-1]
    shown = cloud.demo.get(f"/v2.1/servers/{uuid}").json()["server"]["security_groups"]
    assert {"name": "extra"} in shown
    assert compute.act(uuid, "removeSecurityGroup", {"name": "extra"}).status_code == 202
    assert compute.act(uuid, "removeSecurityGroup", {"name": "extra"}).status_code == 404
    assert compute.act(uuid, "addSecurityGroup", {"name": "no-group"}).status_code == 404
    cloud.demo.delete(f"/v2.1/servers/{uuid}")


@pytest.mark.covers("S170")
def test_what_a_server_does_not_have_is_an_empty_list(cloud, server):
    base, get = f"/v2.1/servers/{server}", cloud.demo.get
    check("servers", "list_volume_attachments", HIGHEST, get(base + "/os-volume_attachments", version=HIGHEST))
    assert get(base + "/os-volume_attachments/x").status_code == 404
    assert cloud.demo.post(base + "/os-volume_attachments", {"volumeAttachment": {"volumeId": "x"}}).status_code == 501
    check("servers", "show_password", "2.1", get(base + "/os-server-password"))
    migrations = cloud.admin.get(base + "/migrations", version=HIGHEST)
    check("servers", "list_live_migrations", HIGHEST, migrations)
    assert get(base + "/shares", version="2.97").json() == {"shares": []}
    assert get(base + "/topology", version="2.78").json() == {"nodes": [], "pagesize_kb": None}
    assert cloud.demo.post(base + "/remote-consoles", {}, version="2.6").status_code == 501
    assert cloud.demo.post(base + "/os-interface", {}).status_code == 501


def test_host_status_follows_the_mesh_within_one_answer(cloud, compute, server):
    from nova0.controller.services import HostLife

    admin = cloud.as_user("admin", "demo")
    shown = lambda: admin.get(f"/v2.1/servers/{server}", version="2.16").json()["server"]  # noqa: E731
    assert shown()["host_status"] == "UP"
    cloud.hosts.lives[HOST] = HostLife(host=HOST, alive=False, status="down", age_s=9.0)
    try:
        assert (shown()["host_status"], shown()["status"]) == ("DOWN", "ACTIVE")
        assert "host_status" not in cloud.demo.get(f"/v2.1/servers/{server}", version="2.16").json()["server"]
    finally:
        cloud.hosts.lives[HOST] = HostLife(host=HOST, alive=True, status="up", age_s=0.2)


def test_nothing_but_delete_works_on_a_server_that_never_started(cloud, compute):
    compute.conductor.fail_with = "no host"
    uuid = compute.boot("never", wait=False)
    compute.wait(uuid, "ERROR")
    compute.conductor.fail_with = ""
    for action, value in (("os-stop", None), ("reboot", {"type": "HARD"}), ("pause", None)):
        assert compute.act(uuid, action, value).status_code == 409
    assert cloud.demo.delete(f"/v2.1/servers/{uuid}").status_code == 204
    compute.wait(uuid, "gone")
    assert cloud.store.read(lambda: InstanceRow.get(InstanceRow.uuid == uuid).deleted_at)
