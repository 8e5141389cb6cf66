"""What to do with a text in so many hours on this machine: the decision, its reasons and the command to type.

The rules, and why:

1. A table with a column of labels is to be fine-tuned on: labels are dearer than text, and a model that has read before needs
   hundreds of rows where a fresh one needs hundreds of thousands.
2. Running text trains a model anew where there is enough of both text and time: 20 tokens a parameter (Hoffmann et al. 2022),
   each token shown at most four times, since up to then it is worth about as much as fresh text (Muennighoff et al. 2023). The
   largest preset for which both suffice is taken.
3. Where even the smallest preset lacks text or time, an existing model is adapted: it brings the language along, and the text
   has to teach it only what is its own.
"""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diptych.errors import RecipeError
from diptych.installed import PACKAGES
from diptych.messages import _
from diptych.planning import Estimate, plan
from diptych.presets import num_parameters, preset_config
from diptych.recipe import build
from diptych.survey import TextFacts, look_at
from diptych.training.sizing import TOKENS_PER_PARAMETER

MOST_EPOCHS = 4
"""Muennighoff et al. 2023, figure 3: repeating text four times costs almost nothing, forty times gains almost nothing."""
SIZES = ("tiny", "mini", "small", "medium", "base")
FINETUNING_EPOCHS = 3
READS_ENGLISH, READS_CHINESE = "minilm", "google-bert/bert-base-chinese"
WRITES_ENGLISH, WRITES_CHINESE = "HuggingFaceTB/SmolLM2-135M", "Qwen/Qwen3-0.6B"


@dataclass(frozen=True)
class Advice:
    """What to do, why, and how."""

    facts: TextFacts
    hours: float
    decision: str
    """"finetune", "anew" or "adapt"."""
    preset: str | None
    tokens_in_time: int | None
    """What this machine reads in that time with the model that is advised; None where that model is not here yet."""
    reasons: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)

    @property
    def share(self) -> float | None:
        """How often the text can be read in that time: 0.5 is half of it, 3 is three passes."""
        return None if self.tokens_in_time is None else self.tokens_in_time / max(1, self.facts.tokens)

    def to_json(self) -> dict[str, Any]:
        facts = {"documents": self.facts.documents, "characters": self.facts.characters, "tokens": self.facts.tokens}
        columns = self.facts.columns
        return {
            **facts,
            "languages": self.facts.languages,
            "label_column": columns.label if columns else None,
            "text_column": columns.text if columns else None,
            "labels": self.facts.labels,
            "hours": self.hours,
            "decision": self.decision,
            "preset": self.preset,
            "tokens_in_time": self.tokens_in_time,
            "passes_in_time": self.share,
            "reasons": self.reasons,
            "commands": self.commands,
        }


def advise(text: str | Path, hours: float) -> Advice:
    """What to do with the text in a file or folder in `hours` on this machine.

    Raises:
        RecipeError E416: there is no such time. DataError E101, E102: there is no text.
    """
    if not 0 < hours < 1e6:
        raise RecipeError("E416", hours=hours)
    facts = look_at([Path(text)])
    return _finetune(facts, str(text), hours) if facts.columns else _pretrain(facts, str(text), hours)


def _finetune(facts: TextFacts, text: str, hours: float) -> Advice:
    assert facts.columns is not None and facts.labels is not None
    base = READS_CHINESE if facts.is_chinese else READS_ENGLISH
    found = _("the column {label} holds {count} labels: fine-tune a model that has read before, it needs far fewer rows")
    reasons = [found.format(label=facts.columns.label, count=len(facts.labels))]
    least = min(facts.labels.values())
    if least < 20:
        reasons.append(_("the rarest label has {count} rows among the first: what is learnt of it will be little").format(count=least))
    commands = []
    if facts.is_chinese:
        reasons.append(_("the text is Chinese, and {name} has read Chinese").format(name=base))
        commands.append(f"diptych pull {base} --out bert-base-chinese")
        base = "bert-base-chinese"
    flags = f"--text {shlex.quote(facts.columns.text)} --label {shlex.quote(facts.columns.label)}"
    commands.append(f"diptych finetune {shlex.quote(text)} --base {base} {flags} --epochs {FINETUNING_EPOCHS} --out my-classifier")
    rate = None
    if base in PACKAGES:
        estimate = _estimate({"base": base}, {"name": "classification", "data": text}, {"epochs": float(FINETUNING_EPOCHS)})
        rate = estimate.tokens_per_second
    tokens = None if rate is None else round(rate * 3600 * hours)
    if tokens is not None and tokens < FINETUNING_EPOCHS * facts.tokens:
        reasons.append(_("{epochs} passes do not fit: leave --epochs out and say --minutes").format(epochs=FINETUNING_EPOCHS))
        commands[-1] = commands[-1].replace(f"--epochs {FINETUNING_EPOCHS}", f"--minutes {_minutes(hours)}")
    return Advice(facts, hours, "finetune", None, tokens, reasons, commands)


def _pretrain(facts: TextFacts, text: str, hours: float) -> Advice:
    best: tuple[str, Estimate] | None = None
    for size in SIZES:
        preset = f"gpt-{size}"
        needed = TOKENS_PER_PARAMETER * num_parameters(preset_config(preset, vocab_size=8192))
        if best is not None and needed > MOST_EPOCHS * facts.tokens:
            break
        estimate = _estimate({"preset": preset}, {"name": "causal-lm"}, {"minutes": float(_minutes(hours))})
        tokens = round(estimate.tokens_per_second * 3600 * hours)
        is_enough = min(tokens, MOST_EPOCHS * facts.tokens) >= needed
        if is_enough or best is None:
            best = (preset, estimate)
        if not is_enough:
            break
    assert best is not None
    preset, estimate = best
    tokens, needed = round(estimate.tokens_per_second * 3600 * hours), estimate.optimal_tokens
    minutes = min(_minutes(hours), max(1, round(MOST_EPOCHS * facts.tokens / estimate.tokens_per_second / 60)))
    if min(tokens, MOST_EPOCHS * facts.tokens) >= needed:
        text_for = _("{preset} wants {needed:,} tokens, 20 a parameter; {tokens:,} of text, four times each at most, and the time suffice")
        command = f"diptych pretrain {shlex.quote(text)} --base {preset} --minutes {minutes} --out my-gpt"
        return Advice(facts, hours, "anew", preset, tokens, [text_for.format(preset=preset, needed=needed, tokens=facts.tokens)], [command])
    lacking = _("text") if MOST_EPOCHS * facts.tokens < needed else _("time")
    reason = _(
        "even {preset} wants {needed:,} tokens, 20 a parameter, and there is too little {lacking}: adapt a model that has read before"
    )
    name = WRITES_CHINESE if facts.is_chinese else WRITES_ENGLISH
    installed = "smollm2" if "smollm2" in PACKAGES and not facts.is_chinese else None
    folder = installed or name.rpartition("/")[2].lower()
    commands = [] if installed else [f"diptych pull {name} --out {folder}"]
    commands.append(f"diptych pretrain {shlex.quote(text)} --base {folder} --minutes {_minutes(hours)} --out my-gpt")
    anew = f"diptych pretrain {shlex.quote(text)} --base {preset} --minutes {minutes} --out my-gpt"
    reasons = [
        reason.format(preset=preset, needed=needed, lacking=lacking),
        _("without a network, start anew all the same; it will repeat more than it knows: {command}").format(command=anew),
    ]
    return Advice(facts, hours, "adapt", preset, tokens, reasons, commands)


def _estimate(model: dict[str, Any], task: dict[str, Any], train: dict[str, Any]) -> Estimate:
    return plan(build({"model": model, "task": task, "train": train}))


def _minutes(hours: float) -> int:
    return max(1, round(60 * hours))
