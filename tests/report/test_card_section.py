"""A section that is added to a card later stands there once, whatever stands around it."""

from pathlib import Path

from diptych.report.card import put_section


def test_a_section_is_added_once_and_replaced_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_bytes("# 模型 🙂\n\nWhat it is.\n".encode())
    put_section(path, "bias", "Bias", ["first"])
    put_section(path, "privacy", "Privacy", ["kept"])
    put_section(path, "bias", "偏见", ["second"])
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# 模型 🙂\n\nWhat it is.\n") and "first" not in text
    assert text.index("second") < text.index("kept") and text.count("<!--") == 4
    put_section(path, "bias", "偏见", ["second"])
    assert path.read_text(encoding="utf-8") == text
    assert "## Bias" in put_section(tmp_path / "new.md", "bias", "Bias", ["x"]).read_text(encoding="utf-8")
