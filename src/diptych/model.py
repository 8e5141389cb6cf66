"""A model in a person's hands: a network and its tokenizer, and all that one can ask of them."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diptych.errors import DataError, UsageError
from diptych.formats.adapter_folder import write_adapter
from diptych.formats.atomic import atomic_folder
from diptych.formats.folder import write_model
from diptych.generation.settings import decoding_of
from diptych.generation.texts import Texts
from diptych.kernels.int8 import num_weights
from diptych.ledger import Ledger
from diptych.packed import Packed
from diptych.tasks import task_of_net
from diptych.tasks.blanks import frame_blanks
from diptych.tasks.head_task import ask
from diptych.text.chat_template import Messages, chat_ids
from diptych.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from diptych.evaluation.surprisal import Surprisal
    from diptych.explain.attend import TextAttention
    from diptych.explain.explain import Explanation
    from diptych.explain.lens import Lens
    from diptych.explain.nearest import Nearest
    from diptych.explain.trace import Trace
    from diptych.models.config import ModelConfig


@dataclass(frozen=True)
class Candidate:
    """A token that may stand at a place, with its probability there."""

    token: str
    probability: float
    id: int


class Model:
    """Any panel, any family.

    Attributes:
        net: the `torch.nn.Module`.
        tokenizer: its tokenizer, or None for a network that was created without text.
        folder: where it was read from or written to.
    """

    def __init__(self, net: Any, tokenizer: Tokenizer | None = None, folder: Path | None = None) -> None:
        self.net = net
        self._tokenizer = tokenizer
        self.folder = folder

    def __repr__(self) -> str:
        return f"<diptych.Model {self.config.family}, {num_weights(self.net):,} parameters, heads: {', '.join(self.net.heads) or 'none'}>"

    @property
    def config(self) -> "ModelConfig":
        return self.net.config

    @property
    def tokenizer(self) -> Tokenizer:
        if self._tokenizer is None:
            raise UsageError("E604")
        return self._tokenizer

    @property
    def has_tokenizer(self) -> bool:
        return self._tokenizer is not None

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    def logits(
        self, input_ids: Tensor | Sequence, attention_mask: Tensor | Sequence | None = None, decoder_input_ids: Tensor | None = None
    ) -> Tensor:
        """The raw answers of the model's head.

        Args:
            input_ids: int64 [B, T], a tensor or lists; attention_mask: [B, T], 1 where there is a token, None for everywhere.
            decoder_input_ids: int64 [B, U], what an encoder-decoder has written so far, from its start token on.

        Returns:
            [B, T, V] of a language model, zero where there is no token; [B, U, V] of an encoder-decoder; [B, classes] of a
            classifier.

        Raises:
            UsageError E605: `decoder_input_ids` for a model without a decoder of its own.
        """
        written = None
        if decoder_input_ids is not None:
            if not self.config.is_encoder_decoder:
                raise UsageError("E605", family=self.config.family)
            written = torch.as_tensor(decoder_input_ids, dtype=torch.int64, device=self.device)
        return self.net.logits(*self._tensors(input_ids, attention_mask), decoder_input_ids=written)

    def hidden(self, input_ids: Tensor | Sequence, attention_mask: Tensor | Sequence | None = None) -> Tensor:
        """The last layer's vectors: [B, T, D], zero where there is no token."""
        packed = Packed.from_padded(*self._tensors(input_ids, attention_mask))
        return packed.pad(self.net.hidden(packed))

    def generate(
        self,
        prompt: str | Sequence[str],
        max_new_tokens: int = 64,
        *,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 0.95,
        stop: str | Sequence[str] = (),
        seed: int = 0,
        **settings: Any,
    ) -> Any:
        """Write on from a prompt, or what an encoder-decoder makes of it; for each of several prompts, the new text alone.

        The same seed gives the same text; temperature 0 always takes the most probable token.

        Args:
            temperature, top_k, top_p: how each token is drawn (see `Sampling`).
            stop: an answer ends before any of these.
            settings: the other fields of `Decoding` (`diptych.generation.settings`): n, beams, contrastive, json_schema, draft, …

        Returns:
            a text; a list of them where `n` asks for several answers; a list of either for several prompts.

        Raises:
            UsageError E602: this model does not write. E603: the prompt is empty. E640, E641: settings that do not go together.
            E642: a bias for what is no token. E643, E644: a setting that does not exist, or a value that has no meaning.
        """
        usual = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "stop": stop, "seed": seed}
        found = self.answers(prompt, max_new_tokens, **usual, **settings)
        per_prompt = [found] if isinstance(prompt, str) else found
        texts = [[answer.text for answer in few] if settings.get("n", 1) > 1 else few[0].text for few in per_prompt]
        return texts[0] if isinstance(prompt, str) else texts

    def answers(self, prompt: str | Sequence[str], max_new_tokens: int = 64, **settings: Any) -> Any:
        """The same as `generate` with all that is known of each answer: a list of them for a prompt, a list of lists for several."""
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        written = self._write([self.read_ids(text) for text in prompts], max_new_tokens, settings)
        for _pieces in written:
            pass
        per_prompt = written.answers()
        return per_prompt[0] if isinstance(prompt, str) else per_prompt

    def stream(self, prompt: str, max_new_tokens: int = 64, **settings: Any) -> Iterator[str]:
        """The same as `generate`, piece by piece as it is written; nothing that was given is taken back."""
        yield from self._stream(self.read_ids(prompt), max_new_tokens, settings)

    def chat(self, messages: str | Messages, max_new_tokens: int = 256, **settings: Any) -> str:
        """The answer to a conversation, [{"role": "user", "content": "…"}, …], or to one thing said.

        Raises:
            ModelError E328: the model was not taught to converse. E329: its template refuses these messages.
        """
        return "".join(self.chat_stream(messages, max_new_tokens, **settings))

    def chat_stream(self, messages: str | Messages, max_new_tokens: int = 256, **settings: Any) -> Iterator[str]:
        """The same as `chat`, piece by piece as it is written."""
        ids = chat_ids(self.tokenizer, [{"role": "user", "content": messages}] if isinstance(messages, str) else messages)
        yield from self._stream(ids, max_new_tokens, settings)

    def next(self, text: str, top: int = 5) -> list[Candidate]:
        """The most probable next tokens after `text`.

        Raises:
            UsageError E602: this model does not write. E603: the text is empty.
        """
        if not self._continues:
            raise UsageError("E602", family=self.config.family)
        ids = self.prompt_ids(text)[-self.config.context_length :]
        if not ids:
            raise UsageError("E603")
        packed = Packed(torch.tensor(ids, device=self.device), (len(ids),), is_causal=True)
        return self._candidates(packed, len(ids) - 1, top)

    def fill(self, text: str, top: int = 5) -> list[list[Candidate]]:
        """The most probable tokens for each [MASK] of `text`, in the order of the blanks.

        Raises:
            UsageError E606: this model fills no blanks. E607: the text has no blank. E608: the text is too long.
        """
        mask = self.tokenizer.mask_id
        if not self.config.fills or mask is None or "lm" not in self.net.heads:
            raise UsageError("E606", family=self.config.family)
        if self.tokenizer.token(mask) not in text:
            raise UsageError("E607", mask=self.tokenizer.token(mask))
        framed, types, _places = frame_blanks(text, self.tokenizer, is_hybrid=self.config.is_hybrid)
        if len(framed) > self.config.context_length:
            raise UsageError("E608", length=len(framed), limit=self.config.context_length)
        packed = Packed(torch.tensor(framed, device=self.device), (len(framed),), torch.tensor(types, device=self.device))
        # A hybrid says each token one place ahead, a blank's too.
        ahead = 1 if self.config.is_hybrid else 0
        return [self._candidates(packed, place - ahead, top) for place, token in enumerate(framed) if token == mask]

    def predict(self, inputs: Any) -> list[Any]:
        """What the model's head says of each input, in the order given: a label, the stretches of a text, an answer.

        Args:
            inputs: a text, or several; pairs of texts where the model judges pairs; [(question, text), …] where it answers.

        Raises:
            UsageError E609: this model has no head that answers.
        """
        return list(self.predictions([inputs] if isinstance(inputs, str) else inputs))

    def predictions(self, inputs: Iterable[Any], ledger: Ledger | None = None) -> Iterator[Any]:
        """The same as `predict`, one by one, for more inputs than fit in memory; the ledger counts what was cut."""
        task = task_of_net(self.net)
        if task is None:
            raise UsageError("E609")
        self.net.eval()
        yield from task.predict(self.net, self.tokenizer, inputs, ledger)

    def embed(
        self,
        texts: str | Sequence[str],
        ledger: Ledger | None = None,
        *,
        normalize: bool | None = None,
        dimensions: int | None = None,
    ) -> Tensor:
        """One vector a text, [B, D], in the way that the model's folder says: the same as sentence-transformers, or the mean.

        Args:
            ledger: counts what was cut.
            normalize: whether each vector has length 1; None for what the folder says.
            dimensions: only the first so many numbers of each, which a model that was trained for it puts most into.

        Raises:
            DataError E169: a vector has fewer numbers.
        """
        from diptych.tasks.embedding import embed_texts

        self.net.eval()
        few = [texts] if isinstance(texts, str) else list(texts)
        vectors_BD = embed_texts(self.net, self.tokenizer, few, ledger if ledger is not None else Ledger(), normalize=normalize)
        if dimensions is None:
            return vectors_BD
        if not 0 < dimensions <= vectors_BD.shape[1]:
            raise DataError("E169", wanted=dimensions, most=vectors_BD.shape[1])
        cut_BD = vectors_BD[:, :dimensions]
        is_unit = self.is_normalized if normalize is None else normalize
        return torch.nn.functional.normalize(cut_BD, dim=-1) if is_unit else cut_BD

    @property
    def is_normalized(self) -> bool:
        """Whether its vectors of texts have length 1 without being asked."""
        return "sentence" in self.net.heads and self.net.heads["sentence"].pooling.normalize

    def score(self, text: str) -> tuple[float, int]:
        """The log-probability of `text` in nats under a model that writes, and over how many tokens."""
        if not self._continues:
            raise UsageError("E602", family=self.config.family)
        self.net.eval()
        ids = self.prompt_ids(text)
        total, count, length = 0.0, 0, self.config.context_length
        with torch.inference_mode():
            for start in range(0, len(ids) - 1, length):
                run = torch.tensor(ids[start : start + length + 1], device=self.device)
                packed = Packed(run[:-1], (len(run) - 1,), is_causal=True)
                answers = ask(self.net, "lm", self.net.hidden(packed), packed, torch.arange(len(run) - 1, device=self.device))
                total -= float(answers.nats(run[1:]).double().sum())
                count += len(run) - 1
        return total, count

    def surprisals(self, text: str) -> list["Surprisal"]:
        """How surprising each word of `text` is to a model that writes, in bits, with its place; marks between words too."""
        from diptych.evaluation.surprisal import surprisals

        self.net.eval()
        return surprisals(self.net, self.tokenizer, text)

    def attention(self, text: str, of: str | None = None) -> "TextAttention":
        """Who looks at whom in a text, in every layer and head; `of` names a word of it whose view is wanted.

        Attention says where a head looks; it is no reason for an answer.

        Raises:
            UsageError E801, E803, E804: no text, too long, no such word in it. E810, E811: this model has no such attention.
        """
        from diptych.explain.attend import attention_to

        return attention_to(self.net, self.tokenizer, text, of)

    def explain(self, given: Any, *, data: Any = None, simple: Any = None, **options: Any) -> "Explanation":
        """Why the model gives this answer: what each word did to it, and how far that can be trusted.

        Args:
            given: a text; a pair where the model judges pairs; (question, text) where it answers. A text with [MASK] asks for what
                is hidden, and one for a model that writes for what comes next.
            data: labelled rows, from which a simple model (TF-IDF) is learnt whose view of the same words stands beside.
            simple: one that `explain.simple.simple_of` has learnt already, for many texts.
            options: `label`, `against` (why the one rather than the other), `of` (which stretch, where it marks some), `method`,
                `units`, `budget`, `seed`, `judged`, as in `explain.explain`.

        Raises:
            UsageError E801 to E814: see there. E814: a simple model beside one that does not label texts.
        """
        from diptych.explain.explain import explain
        from diptych.explain.simple import simple_of

        if data is not None:
            simple = simple_of(task_of_net(self.net), data)
        return explain(self.net, self.tokenizer, given, simple=simple, **options)

    def nearest(self, given: Any, data: Any, *, label: str | None = None, top: int = 5) -> "Nearest":
        """The training examples that taught the model this answer most, and those that spoke against it, by their gradients.

        Args:
            data: the labelled rows that the model learnt from.

        Raises:
            UsageError E802: there is no such label. E847: the model does not choose one label for a text.
        """
        from diptych.explain.nearest import nearest_examples

        return nearest_examples(self.net, self.tokenizer, given, data, label=label, top=top)

    def trace(self, text: str, *, layer: int | None = None, head: int = 0) -> "Trace":
        """The text's way through the model with its real numbers; `.save(path)` writes them as one page.

        Args:
            layer, head: which of them is shown step by step, counted from 0; the last layer as a rule.

        Raises:
            UsageError E801, E803, E815: no text, or too long. E810, E811: no stack of attention. E813: no such layer or head.
        """
        from diptych.explain.trace import trace

        return trace(self.net, self.tokenizer, text, layer=layer, head=head)

    def lens(self, given: Any, top: int = 3) -> "Lens":
        """What the model would answer if it stopped after each layer (logit lens).

        Raises:
            UsageError E809: it answers at more than one place. E810, E811: it is no single stack of attention.
        """
        from diptych.explain.lens import logit_lens

        return logit_lens(self.net, self.tokenizer, given, top)

    def save(self, folder: str | Path) -> Path:
        """Write a Hugging Face folder with weights, config and tokenizer, whole or not at all.

        Over the folder that the model came from, its card and the record of its run (`diptych/`) stay; what another model
        left there goes.
        """
        target = Path(folder)
        with atomic_folder(target) as part:
            self.write(part)
            if self.folder is not None and self.folder.resolve() == target.resolve():
                _keep_record(target, part)
        self.folder = target
        return target

    def write(self, folder: Path) -> None:
        """Write the model's files into an existing folder."""
        write_model(self.net, folder)
        if (adapter := getattr(self.net, "adapter", None)) is not None:
            write_adapter(adapter, folder / "adapter")
        if self._tokenizer is not None:
            self._tokenizer.save(folder)

    def _tensors(self, input_ids: Tensor | Sequence, attention_mask: Tensor | Sequence | None) -> tuple[Tensor, Tensor | None]:
        mask = None if attention_mask is None else torch.as_tensor(attention_mask, device=self.device)
        return torch.as_tensor(input_ids, dtype=torch.int64, device=self.device), mask

    def _stream(self, ids: list[int], max_new_tokens: int, settings: dict[str, Any]) -> Iterator[str]:
        if settings.get("n", 1) != 1:
            raise UsageError("E640", first="n", second="stream")
        for (piece,) in self._write([ids], max_new_tokens, settings):
            if piece:
                yield piece

    def _write(self, prompts: Sequence[list[int]], max_new_tokens: int, settings: dict[str, Any]) -> Texts:
        return Texts(self.net, self.tokenizer, prompts, decoding_of(settings), max_new_tokens)

    @property
    def _continues(self) -> bool:
        """Whether the model goes on from a text, as a decoder alone does."""
        return self.config.writes and not self.config.is_encoder_decoder and "lm" in self.net.heads

    def read_ids(self, text: str) -> list[int]:
        """A prompt as the model reads it: a text to go on from, or the whole source of an encoder-decoder.

        Raises:
            UsageError E613: a source is longer than the encoder reads.
        """
        if not self.config.is_encoder_decoder:
            return self.prompt_ids(text)
        ids, _types = self.tokenizer.frame(self.tokenizer.encode(text))
        if self.tokenizer.cls_id is None and self.tokenizer.eos_id is not None:
            ids = [*ids, self.tokenizer.eos_id]
        if len(ids) > self.config.context_length:
            raise UsageError("E613", length=len(ids), limit=self.config.context_length)
        return ids

    def prompt_ids(self, text: str) -> list[int]:
        """A text as a model that writes reads it: after the token that begins a document, where there is one."""
        begin = self.tokenizer.bos_id if self.tokenizer.bos_id is not None else self.tokenizer.sep_id
        return ([begin] if begin is not None else []) + self.tokenizer.encode(text)

    def _candidates(self, packed: Packed, place: int, top: int) -> list[Candidate]:
        self.net.eval()
        with torch.inference_mode():
            at = torch.tensor([place], device=self.device)
            chances_V = torch.softmax(ask(self.net, "lm", self.net.hidden(packed), packed, at).logits()[0].float(), dim=-1)
            best = chances_V.topk(min(top, len(chances_V)))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [Candidate(self.tokenizer.token(token), chance, token) for token, chance in pairs]


def _keep_record(target: Path, part: Path) -> None:
    """Copy what a run wrote about a model beside the model's new files."""
    if (target / "diptych").is_dir():
        shutil.copytree(target / "diptych", part / "diptych")
    if (target / "README.md").is_file():
        shutil.copy2(target / "README.md", part / "README.md")
