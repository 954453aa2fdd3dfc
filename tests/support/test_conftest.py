"""What tests/conftest.py changes about a test run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SKIPPING = """
import pytest

@pytest.mark.browser
def test_in_a_browser():
    pytest.skip("no chromium here")

@pytest.mark.postgres
def test_on_postgresql():
    pytest.skip("no PostgreSQL here")

def test_elsewhere():
    pytest.skip("no microphone here")
"""


@pytest.mark.parametrize(
    ("required", "summary"),
    [
        ({}, "3 skipped"),
        ({"PARLEY_REQUIRE_BROWSER": "1"}, "1 failed, 2 skipped"),
        ({"PARLEY_REQUIRE_POSTGRES": "1"}, "1 failed, 2 skipped"),
        ({"PARLEY_REQUIRE_BROWSER": "1", "PARLEY_REQUIRE_POSTGRES": "1"}, "2 failed, 1 skipped"),
    ],
)
def test_what_is_required_here_may_not_be_skipped(
    tmp_path: Path, required: dict[str, str], summary: str
) -> None:
    elsewhere = {k: v for k, v in os.environ.items() if not k.startswith("PARLEY_REQUIRE_")}
    (tmp_path / "test_skipping.py").write_text(SKIPPING)
    command = ["-m", "pytest", "-c", "pyproject.toml", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, *command, str(tmp_path)],
        cwd=ROOT,
        env={**elsewhere, **required},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert summary in done.stdout
    assert done.returncode == (1 if required else 0)
