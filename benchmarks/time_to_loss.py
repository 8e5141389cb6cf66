"""How long until a loss is reached: ours beside transformers' Trainer, on the same text, tokens, size and machine, in one run.

The peer is run as it comes (Trainer's defaults) and tuned (bf16, the best of three learning rates, warm-up and linear decay), each
for the budget. Ours is given shares of that time, each a whole run with its own cooldown; what counts is the smallest share
whose held-out loss is not above the peer's. Both are judged by the same code on the same held-out tokens.

    python benchmarks/time_to_loss.py TEXT… [--task causal-lm|masked-lm] [--minutes 5] [--shares 0.1,0.2,0.33]
"""

import argparse
import csv
import logging
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from diptych import runtime
from diptych.evaluation.evaluate import score_language, to_judge
from diptych.formats.folder import read_model
from diptych.ledger import Ledger
from diptych.presets import num_parameters, preset_config
from diptych.pretraining import pretrain_recipe
from diptych.recipe import build
from diptych.tasks import task_class
from diptych.text.corpus import Corpus
from diptych.text.tokenizer import Tokenizer
from diptych.tokenizing import make_tokens, open_corpus
from diptych.training.progress import Several

SHAPE = {"num_layers": 4, "hidden_size": 256, "context_length": 256}
RATES = (5e-4, 1e-3, 2e-3)
RESULTS = Path(__file__).parent / "results" / "time_to_loss.csv"
PRESETS = {"causal-lm": "gpt-mini", "masked-lm": "modernbert-mini"}


@dataclass
class Ran:
    """One training: how long, how many tokens, and what it cost on held-out text."""

    name: str
    minutes: float
    tokens: int
    loss: float
    parameters: int


def pieces(text: str, size: int = 4000) -> list[str]:
    """A book in pieces of whole paragraphs, so that some can be held out."""
    found, current = [], ""
    for line in text.splitlines(keepends=True):
        current += line
        if len(current) >= size:
            found.append(current)
            current = ""
    return [*found, current] if current.strip() else found


class Bench:
    """A text, cut into tokens once, and the two who learn from it."""

    def __init__(self, texts: list[str], task: str, vocab_size: int, folder: Path) -> None:
        self.name, self.folder = task, folder
        parts = {"model": {"preset": PRESETS[task], "sizes": SHAPE}, "task": {"name": task}, "train": {"minutes": 1.0}}
        if task == "masked-lm":
            parts["task"] |= {"nsp": False}
        self.parts: dict[str, Any] = parts
        recipe = build(parts)
        self.pieces = [piece for document in Corpus([Path(text) for text in texts]) for piece in pieces(document.text)]
        corpus = open_corpus(recipe, Corpus(self.pieces))
        training, _held = corpus.split(recipe.task.held_out)
        kind = "bpe" if task == "causal-lm" else "wordpiece"
        panel = "causal" if task == "causal-lm" else "masked"
        self.tokenizer = Tokenizer.train([document.text for document in training], kind, vocab_size, panel=panel)
        (folder / "tokenizer").mkdir()
        self.tokenizer.save(folder / "tokenizer")
        self.task = task_class(task)(recipe.task)
        self.tokens = make_tokens(recipe, corpus, self.tokenizer, self.task, Ledger())
        examples = self.task.examples(self.tokens.held_out, self.tokenizer, SHAPE["context_length"], Ledger())
        self.held_out = to_judge(examples)

    def loss_of(self, net: Any) -> float:
        """Nats per target on the held-out text."""
        net.eval()
        scores = score_language(net, self.task, self.held_out, self.tokens.held_out)
        return next(iter(scores.values())).value

    def ours(self, minutes: float) -> Ran:
        parts = {**self.parts, "train": {"minutes": minutes, "evaluations": 0}}
        parts["model"] = {**parts["model"], "tokenizer": {"folder": str(self.folder / "tokenizer")}}
        done = pretrain_recipe(build(parts), Corpus(self.pieces), listener=Several([]))
        size = sum(parameter.numel() for parameter in done.model.net.parameters())
        return Ran(f"diptych, {minutes:.2f} min", done.outcome.seconds / 60, done.outcome.tokens, self.loss_of(done.model.net), size)

    def peer(self, name: str, minutes: float, **settings: Any) -> Ran:
        """Trainer for so many minutes: as many steps as it takes in that time, by the rate of its first ones."""
        probe, _seconds, _net = self._trainer(16, **settings)
        steps = max(20, int(minutes * 60 / probe))
        _each, seconds, net = self._trainer(steps, **settings)
        net.save_pretrained(self.folder / "peer")
        batch = settings.get("per_device_train_batch_size", 8)
        size = sum(parameter.numel() for parameter in net.parameters())
        return Ran(name, seconds / 60, steps * batch * SHAPE["context_length"], self.loss_of(read_model(self.folder / "peer")), size)

    def _trainer(self, steps: int, **settings: Any) -> tuple[float, float, Any]:
        """(seconds a step, seconds in all, the model)."""
        torch.manual_seed(0)
        net = self._their_net()
        usual = {"report_to": [], "save_strategy": "no", "disable_tqdm": True, "logging_strategy": "no", "use_cpu": True}
        told = transformers.TrainingArguments(str(self.folder / "out"), max_steps=steps, **usual, **settings)
        trainer = transformers.Trainer(net, told, train_dataset=self._rows(), data_collator=self._collator())
        start = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - start
        return seconds / steps, seconds, net

    def _their_net(self) -> Any:
        size, width = self.tokenizer.vocab_size, SHAPE["hidden_size"]
        ids = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
        if self.name == "causal-lm":
            shape = {"n_layer": SHAPE["num_layers"], "n_embd": width, "n_head": width // 64, "n_positions": SHAPE["context_length"]}
            return transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=size, **shape, **ids))
        shape = {"num_hidden_layers": SHAPE["num_layers"], "hidden_size": width, "num_attention_heads": width // 64}
        shape |= {"intermediate_size": 4 * width, "max_position_embeddings": SHAPE["context_length"]}
        return transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=size, **shape, pad_token_id=0))

    def _rows(self) -> Any:
        """The training tokens in rows of the context's length, as the peer's own example scripts lay them."""
        tokens, length = np.asarray(self.tokens.train.tokens), SHAPE["context_length"]
        if self.name == "causal-lm":
            count = len(tokens) // length
            return [
                {"input_ids": row, "labels": row} for row in torch.from_numpy(tokens[: count * length].astype(np.int64)).view(count, length)
            ]
        count = len(tokens) // (length - 2)
        rows = tokens[: count * (length - 2)].astype(np.int64).reshape(count, length - 2)
        framed = np.column_stack([np.full(count, self.tokenizer.cls_id), rows, np.full(count, self.tokenizer.sep_id)])
        return [{"input_ids": row} for row in torch.from_numpy(framed)]

    def _collator(self) -> Any:
        if self.name == "causal-lm":
            return transformers.default_data_collator
        theirs = transformers.AutoTokenizer.from_pretrained(self.folder / "tokenizer")
        return transformers.DataCollatorForLanguageModeling(theirs, mlm_probability=0.15)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--task", choices=[*PRESETS], default="causal-lm")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--shares", default="0.1,0.2,0.33")
    parser.add_argument("--vocab-size", type=int, default=8192)
    parser.add_argument("--skip-defaults", action="store_true", help="leave out Trainer as it comes")
    options = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    runtime.prepare()
    found = runtime.machine()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options.texts, options.task, options.vocab_size, Path(folder))
        config = preset_config(PRESETS[options.task], **{**SHAPE, "vocab_size": bench.tokenizer.vocab_size})
        print(
            f"{found.processor}, {found.cores} cores; {bench.tokens.train.num_tokens:,} tokens; ours {num_parameters(config):,} parameters"
        )
        peers = [] if options.skip_defaults else [show(bench.peer("Trainer, defaults", options.minutes))]
        schedule = {"bf16": found.speed.bf16_gflops > found.speed.fp32_gflops, "lr_scheduler_type": "linear", "warmup_steps": 20}
        tries = {rate: bench.peer(f"Trainer, tuning {rate}", options.minutes / 4, learning_rate=rate, **schedule) for rate in RATES}
        best = min(tries, key=lambda rate: tries[rate].loss)
        peers.append(show(bench.peer(f"Trainer, tuned (bf16, {best:g})", options.minutes, learning_rate=best, **schedule)))
        mine = [show(bench.ours(float(share) * options.minutes)) for share in options.shares.split(",")]
    for peer in peers:
        there = [ran for ran in mine if ran.loss <= peer.loss]
        ratio = min((ran.minutes for ran in there), default=float("nan")) / peer.minutes
        print(f"to the loss of {peer.name}: {ratio:.2f} of its time" if there else f"the loss of {peer.name} was not reached")
    keep(options, peers, mine)


def show(ran: Ran) -> Ran:
    rate = ran.tokens / max(1e-9, 60 * ran.minutes)
    print(
        f"{ran.name:32} {ran.minutes:5.2f} min  {ran.tokens:10,} tokens ({rate:,.0f}/s)  {ran.loss:.4f} nats  {ran.parameters:,} parameters"
    )
    return ran


def keep(options: argparse.Namespace, peers: list[Ran], mine: list[Ran]) -> None:
    is_new = not RESULTS.exists()
    with RESULTS.open("a", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        if is_new:
            out.writerow(["date", "task", "text", "system", "minutes", "tokens", "nats"])
        for ran in (*peers, *mine):
            name = " ".join(Path(text).name for text in options.texts)
            out.writerow([date.today(), options.task, name, ran.name, round(ran.minutes, 2), ran.tokens, round(ran.loss, 4)])


if __name__ == "__main__":
    main()
