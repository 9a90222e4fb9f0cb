"""What every test may rely on: the kernel marker skips where there is no kernel to ask."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine makes any example slow, and the same run must give the same answer.
settings.register_profile("netemu", deadline=None, derandomize=True)
settings.load_profile("netemu")

KERNEL_DIR = Path(__file__).parent / "kernel"
TOOLS = ("ip", "iptables-legacy-restore", "iptables-legacy-save", "conntrack", "ethtool")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all below tests/kernel."""
    for item in items:
        if KERNEL_DIR in item.path.parents:
            item.add_marker(pytest.mark.kernel)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip kernel tests where they cannot run, or fail where they must."""
    if item.get_closest_marker("kernel") is None:
        return
    lacks = what_lacks()
    if not lacks:
        return
    if os.environ.get("NETEMU_REQUIRE_KERNEL"):
        pytest.fail(f"kernel tests must run here, but there is no {lacks}", pytrace=False)
    pytest.skip(f"needs {lacks}")


def pytest_runtest_teardown() -> None:
    """Take back what a command of the test's froze: it thinks that its process ends with it.

    What stayed frozen would be counted, object by object, whenever a rule set is read.
    """
    gc.unfreeze()


def what_lacks() -> str:
    """Name what keeps kernel tests from running; empty when nothing does."""
    if sys.platform != "linux":
        return "Linux"
    if os.geteuid() != 0:
        return "root"
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return ", ".join(tool for tool in TOOLS if shutil.which(tool, path=path) is None)


@pytest.fixture(scope="session")
def root() -> Path:
    """Top of the checkout."""
    return Path(__file__).parent.parent


@pytest.fixture(scope="session")
def corpus_pcaps(root: Path) -> Path:
    """Public captures beside the checkout; skips where there are none."""
    folder = root.parent / "shared" / "corpus" / "pcaps"
    if not folder.is_dir():
        pytest.skip("the corpus of public captures is not beside the checkout")
    return folder
