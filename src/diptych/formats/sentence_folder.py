"""How the vectors of a text become one, as a folder of sentence-transformers says and as we write it.

Such a folder has beside the model `modules.json`, a chain of steps of which `1_Pooling/config.json` tells the first, and
`sentence_bert_config.json` with the longest text. What the chain asks for and we do not have is refused by name: another
vector would look just as good and be wrong.
"""

import json
from pathlib import Path
from typing import Any

from diptych.errors import DataError, ModelError
from diptych.messages import _
from diptych.models.pooling import WAYS, Pooling

MODULES, POOLING, LIMIT, PROMPTS = "modules.json", "1_Pooling", "sentence_bert_config.json", "config_sentence_transformers.json"
_PACKAGE = "sentence_transformers.models"
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""What the ways to pool are called in the folders of all versions, in the order in which they are laid side by side."""


def read_pooling(folder: Path) -> Pooling | None:
    """What a folder says of pooling; None where it says nothing.

    Raises:
        ModelError E312: a file cannot be read. DataError E165: a step or a way that we do not have.
    """
    if not (folder / MODULES).is_file():
        return None
    chain = _read(folder / MODULES)
    if not isinstance(chain, list) or not all(isinstance(step, dict) for step in chain):
        raise ModelError("E312", path=folder / MODULES, problem=_("it holds no settings"))
    steps = [str(step.get("type", "")).rsplit(".", 1)[-1] for step in chain]
    if steps not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise DataError("E165", path=folder / MODULES, what=" → ".join(steps))
    where = str(chain[1].get("path", POOLING))
    if not where or "/" in where or "\\" in where or where.startswith("."):
        # A list from somewhere else must not make us read from anywhere: the folder of a step lies beside it.
        raise ModelError("E312", path=folder / MODULES, problem=where)
    settings = _mapping(folder / where / "config.json")
    named = settings.get("pooling_mode")
    modes = [mode for flag, mode in _FLAGS.items() if settings.get(flag)] if named is None else [named] if isinstance(named, str) else named
    unknown = [str(mode) for mode in modes if mode not in WAYS]
    if unknown or settings.get("include_prompt", True) is not True:
        raise DataError("E165", path=folder / where / "config.json", what=", ".join(unknown) or "include_prompt: false")
    limits = _mapping(folder / LIMIT) if (folder / LIMIT).is_file() else {}
    length = limits.get("max_seq_length")
    told = _mapping(folder / PROMPTS) if (folder / PROMPTS).is_file() else {}
    if told.get("default_prompt_name"):
        raise DataError("E165", path=folder / PROMPTS, what=f"default_prompt_name: {told['default_prompt_name']}")
    prompts = {str(name): str(text) for name, text in (told.get("prompts") or {}).items() if text}
    return Pooling(tuple(modes) or ("mean",), len(steps) == 3, length if isinstance(length, int) and length > 0 else None, prompts)


def write_pooling(pooling: Pooling, hidden_size: int, context_length: int, folder: Path) -> None:
    """Write what sentence-transformers opens a folder by, of any version, beside the model's files."""
    steps = [("", "Transformer"), (POOLING, "Pooling"), *([("2_Normalize", "Normalize")] if pooling.normalize else [])]
    chain = [{"idx": i, "name": str(i), "path": path, "type": f"{_PACKAGE}.{kind}"} for i, (path, kind) in enumerate(steps)]
    _write(folder / MODULES, chain)
    flags = {flag: mode in pooling.modes for flag, mode in _FLAGS.items()}
    (folder / POOLING).mkdir(exist_ok=True)
    _write(folder / POOLING / "config.json", {"word_embedding_dimension": hidden_size, **flags, "include_prompt": True})
    _write(folder / LIMIT, {"max_seq_length": pooling.max_length or context_length, "do_lower_case": False})
    _write(folder / PROMPTS, {"prompts": dict(pooling.prompts), "default_prompt_name": None, "similarity_fn_name": "cosine"})


def _mapping(path: Path) -> dict[str, Any]:
    data = _read(path)
    if not isinstance(data, dict):
        raise ModelError("E312", path=path, problem=_("it holds no settings"))
    return data


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError("E312", path=path, problem=error) from None


def _write(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
