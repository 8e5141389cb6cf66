"""The short form of distillation: from a teacher and a source to the recipe that a person would have written.

The recipe says all of it: where the student starts, the regime `distilled`, the task that the teacher's heads name. A service that
writes cannot be asked for probabilities over a vocabulary, so it writes texts first, and the student learns from those.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from diptych import runtime
from diptych.errors import TrainingError
from diptych.installed import find_model
from diptych.presets import list_presets, preset_config
from diptych.remote import Service
from diptych.running import load_model
from diptych.text.corpus import Corpus

TOLD = ("temperature", "hard", "soft", "hidden", "relations", "relation_layer", "relation_heads", "model", "key")


def distilled_parts(
    teacher: str | Path, *, student: str | None = None, layers: int | None = None, task: str | None = None, **told: Any
) -> dict[str, dict[str, Any]]:
    """The parts `model`, `task` and `train` of the recipe, short of the data.

    Args:
        student: a preset or a model folder; None is the teacher itself with `layers` of its layers, half of them as a rule.
        told: settings of the regime.

    Raises:
        TrainingError E542: a service teaches, and there is no student.
    """
    regime = {"name": "distilled", "teacher": str(teacher), **{name: value for name, value in told.items() if value is not None}}
    if is_service(teacher):
        if student is None:
            raise TrainingError("E542", teacher=teacher)
        model: dict[str, Any] = {"preset" if student in list_presets() else "base": student, **({"layers": layers} if layers else {})}
        return {"model": model, "task": {"name": task or "classification"}, "train": {"regime": [regime]}}
    found = load_model(teacher)
    config = found.config
    if student is None:
        model = {"base": str(teacher), "layers": layers or max(1, config.num_layers // 2)}
    elif student in list_presets():
        model = {"preset": student, "tokenizer": {"folder": str(find_model(teacher))}}
        sizes = {"context_length": min(config.context_length, preset_config(student).context_length)}
        model["sizes"] = {**sizes, **({"num_layers": layers} if layers else {})}
    else:
        model = {"base": student, **({"layers": layers} if layers else {})}
    name = task or ("classification" if "classes" in found.net.heads else "causal-lm" if config.is_causal else "masked-lm")
    return {"model": model, "task": {"name": name}, "train": {"regime": [regime]}}


def is_service(teacher: str | Path) -> bool:
    """Whether a teacher is an address."""
    return str(teacher).startswith(("http://", "https://"))


def write_texts(
    service: Service, prompts: Iterable[str], file: str | Path, *, max_tokens: int = 256, temperature: float = 0.8, seed: int = 0
) -> int:
    """Let a service go on from each prompt and keep what it writes as JSON lines with prompt and text; how many there are.

    A file that is there already is gone on with: prompts that are in it are not asked again.
    """
    path = Path(file)
    done: list[dict[str, str]] = []
    if path.exists():
        done = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    known = {each["prompt"] for each in done}
    for number, prompt in enumerate(prompts):
        if prompt in known:
            continue
        text = service.write(prompt, max_tokens=max_tokens, temperature=temperature, seed=seed + number)
        done.append({"prompt": prompt, "text": text})
        known.add(prompt)
        runtime.write_lines(path, (json.dumps(each, ensure_ascii=False) + "\n" for each in done))
    return len(done)


def prompts_of(source: Any) -> list[str]:
    """The lines of text files, or the texts of a list: each is a prompt."""
    corpus = Corpus([Path(source)] if isinstance(source, str | Path) else source)
    return [line.strip() for document in corpus for line in document.text.splitlines() if line.strip()]
