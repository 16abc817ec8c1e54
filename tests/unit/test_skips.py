"""In CI no test of mesh/, vm/ or faults/ may be skipped without a reason on file."""

import pytest

from tests.conftest import allowed_skips, refused_skips

SKIPPED = {"tests/vm/test_x.py::test_a": "no qemu", "tests/unit/test_y.py::test_b": "why not"}


def test_a_skip_in_a_guarded_folder_is_refused():
    assert refused_skips(SKIPPED, {}) == ["tests/vm/test_x.py::test_a: no qemu"]


def test_a_reason_on_file_allows_it():
    allowed = allowed_skips("# comment\ntests/vm/test_x.py::test_a: arm64 has no qemu here\n")
    assert refused_skips(SKIPPED, allowed) == []


def test_a_line_without_a_reason_is_refused():
    with pytest.raises(ValueError, match="no reason"):
        allowed_skips("tests/vm/test_x.py::test_a\n")
