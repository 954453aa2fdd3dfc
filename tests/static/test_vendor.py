"""Other people's programs, shipped for documentation and charts: whole, licensed, and silent."""

import re
from pathlib import Path

import pytest

VENDOR = Path(__file__).resolve().parents[2] / "static" / "vendor"
PROGRAMS = sorted(p for p in VENDOR.iterdir() if p.suffix in {".js", ".css"})


def test_there_are_three_programs_and_their_licences() -> None:
    assert [p.name for p in PROGRAMS] == [
        *("redoc.standalone.js", "swagger-ui-bundle.js", "swagger-ui.css"),
        *("uPlot.iife.min.js", "uPlot.min.css"),
    ]
    assert "MIT License" in (VENDOR / "redoc.LICENSE.txt").read_text("utf-8")
    assert "MIT License" in (VENDOR / "uPlot.LICENSE.txt").read_text("utf-8")
    assert "Apache License" in (VENDOR / "swagger-ui.LICENSE.txt").read_text("utf-8")
    about = (VENDOR / "ABOUT.txt").read_text("utf-8")
    assert [p.name for p in PROGRAMS if p.name not in about] == []


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.name)
def test_nothing_is_fetched_from_elsewhere_and_no_source_map_is_missing(path: Path) -> None:
    text = path.read_text("utf-8")
    assert not re.search(r"sourceMappingURL=[^$\"']*\.map", text[-500:])
    assert not re.search(
        r"(?:src|href)[:=]\s*[\"']https?://(?!www\.w3\.org)[^\"']*\.(?:svg|png|js|css)", text
    )
    assert not re.search(r"@import|url\(\s*[\"']?https?:", text) or path.suffix == ".js"
