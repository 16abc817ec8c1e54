"""What holds for every test: gevent's patches first, the marks, and no skip in CI without a reason on file."""

from gevent import monkey

monkey.patch_all()  # before anything else is imported: agents and controllers run that way

import collections  # noqa: E402
import importlib.util  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402
from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402


def only_checked(descriptor) -> None:
    """Instead of fsync: no test cuts the power, and each wait for the disk would be one for all."""
    os.fstat(descriptor)


os.fsync = only_checked

HERE = Path(__file__).parent
NO_SKIPS_IN = ("tests/mesh/", "tests/vm/", "tests/faults/")
ALLOWED = HERE / "allowed_skips.txt"


def in_ci() -> bool:
    return bool(os.environ.get("NOVA0_CI"))


def allowed_skips(text: str) -> dict[str, str]:
    """Test id (or the start of one) -> reason, from lines "ID: REASON"; # begins a comment.

    Test ids hold "::", so the reason begins after the first ": "."""
    found = {}
    for line in text.splitlines():
        line = line.strip()
        if line and not line.startswith("#"):
            name, colon, reason = line.partition(": ")
            if not colon or not reason.strip():
                raise ValueError(f"allowed_skips.txt: no reason in {line!r}")
            found[name.strip()] = reason.strip()
    return found


def refused_skips(skipped: dict[str, str], allowed: dict[str, str]) -> list[str]:
    """Of skipped tests (id -> reason) those in the folders where none may be, without a reason on file."""
    return [
        f"{name}: {reason}"
        for name, reason in sorted(skipped.items())
        if name.startswith(NO_SKIPS_IN) and not any(name.startswith(known) for known in allowed)
    ]


_skipped: dict[str, str] = {}

# tests of real guests import libvirt, which is an extra: without it the folder is left out as one skip
collect_ignore = []
if importlib.util.find_spec("libvirt") is None:
    collect_ignore.append("vm")
    _skipped["tests/vm/"] = "libvirt's Python module is not installed"


def pytest_report_header() -> list[str]:
    return [f"left out: {name} ({reason})" for name, reason in _skipped.items()]


def pytest_configure(config: pytest.Config) -> None:
    """How long Hypothesis searches. In CI it tries the same each time: what it finds new is no change's fault."""
    settings.register_profile(
        "whole", max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=in_ci()
    )
    settings.register_profile("quick", settings.get_profile("whole"), max_examples=15)
    settings.load_profile("quick" if "not slow" in config.option.markexpr else "whole")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "long" not in config.option.markexpr:  # nobody shall wait an hour for having named a folder
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="long: `scripts/test long` runs it"))
    if os.geteuid() != 0:
        for item in items:
            if item.get_closest_marker("root"):
                item.add_marker(pytest.mark.skip(reason="needs root (namespaces, libvirtd): run it as root"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Note skips under the file they are written in (skipped modules report no item)."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and not hasattr(report, "wasxfail"):
        _skipped[report.nodeid] = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        _skipped[report.nodeid] = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if not in_ci():
        return
    refused = refused_skips(_skipped, allowed_skips(ALLOWED.read_text() if ALLOWED.exists() else ""))
    if refused:
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line("")
            reporter.write_line("skipped where no test may be, without a reason in tests/allowed_skips.txt:", red=True)
            for line in refused:
                reporter.write_line(f"  {line}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


MANY_DESCRIPTORS = 256


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests left open is said: it is found long before it runs out."""
    try:
        held = os.listdir("/proc/self/fd")
    except OSError as error:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        terminalreporter.write_line(f"descriptors: {error} (limit {limit})", red=True)
        return
    if len(held) > MANY_DESCRIPTORS:
        kinds = collections.Counter(os.path.realpath(f"/proc/self/fd/{one}").partition(":")[0] for one in held)
        terminalreporter.write_line(f"{len(held)} descriptors are left open: {kinds.most_common(5)}", red=True)
