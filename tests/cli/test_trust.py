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


def test_confidence_is_calibrated_and_fairness_audited_and_the_card_says_so(
    diptych: Diptych, models: dict[str, Path], table: Path, tmp_path: Path
) -> None:
    (found,) = diptych("calibrate", models["classifier"], table, "--target", "0.9", "--out", "sure", "--json").json
    assert found["rows"]["fitted"] + found["rows"]["judged"] == 160 and found["target"] == 0.9 and found["temperature"] > 0
    assert dt.load(tmp_path / "sure").predict("good food 1") and (tmp_path / "sure" / "diptych" / "calibration.html").exists()
    assert diptych("calibrate", models["gpt"], table).err.startswith("E847")
    flags = ("--axis", "gender", "--axis", "names", "--limit", "8", "--out", "bias.html")
    (audit,) = diptych("audit", "bias", models["classifier"], table, *flags, "--json").json
    assert {each["measure"] for each in audit["findings"]} == {"said in front of the text"}
    assert all(each["score"]["n"] <= 8 for each in audit["findings"])
    assert audit["verdict"] in (models["classifier"] / "README.md").read_text(encoding="utf-8")
    assert "<script" not in (tmp_path / "bias.html").read_text(encoding="utf-8")
    told = diptych("audit", "bias", models["classifier"], table, *flags)
    assert told.code == 0 and "bias.html written" in told.out
    for flags, code in ((("--axis", "gendr"), "E845"), (("--weat", "nowhere"), "E843"), (("--crows-pairs", table), "E841")):
        assert diptych("audit", "bias", models["bert"], *flags).err.startswith(code)


def test_explain_names_the_examples_that_taught_the_answer(diptych: Diptych, models: dict[str, Path], table: Path) -> None:
    (found,) = diptych("explain", models["classifier"], "good food 3", "--nearest", table, "--budget", "20", "--json").json
    assert found["nearest"]["taught"][0]["similarity"] > found["nearest"]["taught"][-1]["similarity"]
    assert found["nearest"]["examples"] == 160 and found["nearest"]["taught"][0]["label"] == found["answer"]


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


def test_trace_compares_kinds_of_nets_and_says_what_it_lacks(diptych: Diptych, models: dict[str, Path]) -> None:
    assert diptych("trace", "--model", models["bert"]).err.startswith("E851")
    assert diptych("trace", "我爱天气").err.startswith("E851")


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
