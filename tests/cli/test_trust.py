"""`explain` and `trace`, run in this process."""

from collections.abc import Callable
from pathlib import Path

import diptych as dt

Diptych = Callable[..., "object"]


def test_explain_gives_each_word_its_number_and_says_how_far_to_trust_them(
    diptych: Diptych, models: dict[str, Path], table: Path, tmp_path: Path
) -> None:
    ran = diptych("explain", models["classifier"], "good food 3", "很脏 房间 4", "--data", table, "--out", "why.html", "--json")
    assert ran.code == 0, ran.err
    english, chinese = ran.json
    model = dt.load(models["classifier"])
    for found, text in ((english, "good food 3"), (chinese, "很脏 房间 4")):
        said = model.predict(text)[0]
        assert (found["answer"], found["probability"]) == (said.label, round(said.probability, 6))
        assert "".join(unit["text"] for unit in found["units"]) == text.replace(" ", "")
        assert sum(unit["value"] for unit in found["units"]) + found["base"] - found["full"] < 1e-4
        assert {each["name"] for each in found["beside"]} >= {"TF-IDF"} and found["evaluations"] <= 400
    page = (tmp_path / "why.html").read_text(encoding="utf-8")
    assert "good" in page and "很脏" in page and "<script" not in page
    told = diptych("explain", models["classifier"], "good food 3", "--against", "差评", "--label", "好评", "--units", "tokens")
    assert told.code == 0 and "好评 rather than 差评" in told.out and "faithfulness" in told.out


def test_explain_reads_marked_stretches_and_refuses_what_is_not_there(diptych: Diptych, models: dict[str, Path]) -> None:
    (found,) = diptych("explain", models["classifier"], "good food 3", "--mark", "good food", "--json").json
    assert [unit["text"] for unit in found["units"]] == ["good food"] and found["faithfulness"] is None
    for flags, code in (
        (("--mark", "car"), "E804"),
        (("--label", "neutral"), "E802"),
        (("--method", "shaply"), "E812"),
        (("--units", "letters"), "E806"),
    ):
        ran = diptych("explain", models["classifier"], "good food 3", *flags)
        assert ran.code == 1 and ran.err.startswith(code) and ran.out == ""
    assert 'Did you mean "shapley"?' in diptych("explain", models["classifier"], "good", "--method", "shaply").err
    assert diptych("explain", models["bert"], "这家[MASK]店", "--data", "x.csv").err.startswith("E814")


def test_explain_asks_for_the_next_word_and_the_hidden_one(diptych: Diptych, models: dict[str, Path]) -> None:
    (found,) = diptych("explain", models["gpt"], "今天天气", "--budget", "20", "--json").json
    assert found["answer"] == dt.load(models["gpt"]).next("今天天气", 1)[0].token.strip()
    (found,) = diptych("explain", models["bert"], "这家[MASK]店", "--method", "occlusion", "--json").json
    assert found["answer"] == dt.load(models["bert"]).fill("这家[MASK]店", 1)[0][0].token


def test_trace_writes_a_page_with_one_model_or_two(diptych: Diptych, models: dict[str, Path], tmp_path: Path) -> None:
    both = ("--model", models["bert"], "--model", models["gpt"])
    ran = diptych("trace", "我爱天气 cat", *both, "--of", "天气", "--out", "way.html", "--json")
    assert ran.code == 0, ran.err
    assert len(ran.json[0]["of"]) == 2 and abs(sum(each["weight"] for each in ran.json[0]["of"][0]) - 1) < 1e-3
    page = (tmp_path / "way.html").read_text(encoding="utf-8")
    assert "sees both sides" in page and "sees what came before" in page and len(page.encode()) < 1_000_000
    told = diptych("trace", "the cat", "--model", models["bert"], "--layer", "0", "--of", "cat")
    assert told.code == 0 and "trace.html written" in told.out and "[CLS]" in told.out
    assert diptych("trace", "the cat", "--model", models["bert"], "--head", "99").err.startswith("E813")
