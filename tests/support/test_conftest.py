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

def test_elsewhere():
    pytest.skip("no database here")
"""


@pytest.mark.parametrize(("required", "summary"), [("", "2 skipped"), ("1", "1 failed, 1 skipped")])
def test_a_skipped_browser_test_fails_where_a_browser_is_required(
    tmp_path: Path, required: str, summary: str
) -> None:
    (tmp_path / "test_skipping.py").write_text(SKIPPING)
    command = ["-m", "pytest", "-c", "pyproject.toml", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, *command, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PARLEY_REQUIRE_BROWSER": required},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert summary in done.stdout
    assert done.returncode == (1 if required else 0)
