"""The logit lens: what the model would answer if it stopped after each layer (nostalgebraist 2020).

The vectors between two layers are given to the last norm and to the head, which were trained for the vectors after the last one alone;
so early answers are a view of how the answer forms, not what a smaller model would say.
"""

from dataclasses import dataclass
from typing import Any

import torch

from diptych.errors import UsageError
from diptych.explain.long import subject_of
from diptych.explain.perturb import blank_of
from diptych.explain.question import question_of
from diptych.messages import _
from diptych.tasks.head_task import ask
from diptych.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Lens:
    """The most probable answers after the embedding (layer 0) and after each layer."""

    answers: tuple[tuple[tuple[str, float], ...], ...]

    def __str__(self) -> str:
        lines = []
        for layer, best in enumerate(self.answers):
            shown = "  ".join(f"{name} {chance:.3f}" for name, chance in best)
            lines.append(_("layer {layer:>2}: {answers}").format(layer=layer, answers=shown))
        return "\n".join(lines)


def logit_lens(net: Any, tokenizer: Tokenizer, given: Any, top: int = 3) -> Lens:
    """What a stack's head says after each layer, to the question that `question_of` finds.

    Raises:
        UsageError E809: the model marks stretches or answers, at more than one place. E810, E811: it is no stack of attention. E850:
            the text is read in windows.
    """
    if net.config.cell or net.config.is_encoder_decoder:
        raise UsageError("E810" if net.config.cell else "E811", family=net.config.family)
    net.eval()
    question = question_of(net, tokenizer, given)
    if question.head not in ("classes", "lm") or question.scale == "number":
        raise UsageError("E809", heads=", ".join(net.heads))
    text, at_BP = subject_of(net, question, [], blank_of(tokenizer)).lay_whole()
    seen: list[torch.Tensor] = []
    handles = [net.body.layers[0].register_forward_pre_hook(lambda _module, given: seen.append(given[0]))]
    handles += [layer.register_forward_hook(lambda _module, _given, out: seen.append(out)) for layer in net.body.layers]
    try:
        with torch.inference_mode():
            net.hidden(text)
            at = at_BP.flatten() if at_BP.shape[1] else torch.arange(1, device=at_BP.device)
            logits = [ask(net, question.head, net.body.norm(x_TD), text, at).logits()[0].float() for x_TD in seen]
    finally:
        for handle in handles:
            handle.remove()
    several = question.head == "classes" and net.config.label_kind == "several"
    return Lens(tuple(_best(net, tokenizer, question.head, each, top, several=several) for each in logits))


def _best(net: Any, tokenizer: Tokenizer, head: str, logits_C: torch.Tensor, top: int, *, several: bool) -> tuple[tuple[str, float], ...]:
    chances_C = logits_C.sigmoid() if several else logits_C.softmax(-1)
    best = chances_C.topk(min(top, len(chances_C)))
    names = [net.config.labels[number] if head == "classes" else tokenizer.token(number) for number in best.indices.tolist()]
    return tuple(zip(names, best.values.tolist(), strict=True))
