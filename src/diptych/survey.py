"""A look at a text before anything is trained on it: how much there is, in which language, and whether it has labels."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.tasks.labels import label_name
from diptych.tasks.tables import LABEL_NAMES, Columns, choose_columns
from diptych.text.corpus import Corpus
from diptych.text.files import find_sources
from diptych.text.tables import rows_of
from diptych.text.tokenizer import Panel, Tokenizer
from diptych.text.vocabulary import Kind
from diptych.text.words import language_of

SAMPLE_CHARS = 1_000_000
"""A tokenizer learns from so much, and what it makes of it stands for the rest."""
SAMPLE_ROWS = 1000
MOST_CLASSES = 50
"""A column with a name of its own is one of labels if so few values repeat in it."""


@dataclass(frozen=True)
class TextFacts:
    """What can be seen of a text."""

    documents: int
    characters: int
    tokens: int
    """With a tokenizer of the size that was asked about, by the rate at which it cuts a sample."""
    languages: dict[str, int]
    """Characters by language: en, zh, mixed, other."""
    columns: Columns | None = None
    """The columns of the text and of the label, where there is one of labels."""
    labels: dict[str, int] | None = None
    """How often each label occurs in the first rows."""

    @property
    def mean_tokens(self) -> float:
        return self.tokens / max(1, self.documents)

    @property
    def is_chinese(self) -> bool:
        """Whether half of it or more is Chinese, or both."""
        chinese = self.languages.get("zh", 0) + self.languages.get("mixed", 0)
        return 2 * chinese >= max(1, sum(self.languages.values()))


def look_at(paths: Sequence[Path], *, column: str | None = None, vocab_size: int = 8192) -> TextFacts:
    """What can be seen of the text in these files and folders; everything is read once, a million characters are cut.

    Raises:
        DataError E101, E102: there is no such file, or no text in it.
    """
    columns, labels = _labels(paths, column)
    corpus = Corpus(list(paths), text=column or (columns.text if columns else None))
    documents = characters = 0
    languages: Counter[str] = Counter()
    sample: list[str] = []
    room = SAMPLE_CHARS
    for document in corpus:
        documents += 1
        characters += len(document.text)
        languages[language_of(document.text[:2000])] += len(document.text)
        if room > 0:
            sample.append(document.text[:room])
            room -= len(sample[-1])
    return TextFacts(documents, characters, round(characters * tokens_per_character(sample, vocab_size)), dict(languages), columns, labels)


def tokens_per_character(sample: list[str], vocab_size: int, *, kind: Kind = "bpe", panel: Panel = "causal") -> float:
    """How many tokens a character of such a text takes with a tokenizer of this size that learns from it."""
    length = sum(map(len, sample))
    if not any(text.strip() for text in sample):
        return 0.0
    tokenizer = Tokenizer.train(sample, kind, vocab_size, panel=panel, ledger=Ledger())
    return sum(len(tokenizer.encode(text)) for text in sample) / length


def _labels(paths: Sequence[Path], column: str | None) -> tuple[Columns | None, dict[str, int] | None]:
    """The columns of a labelled table and its labels; None where there is no table, or none with a column of labels.

    A column counts as one of labels by its name, or if a few values repeat often in it.
    """
    ledger = Ledger()
    tables = [source for source in find_sources(list(paths), ledger) if source.is_table]
    if not tables:
        return None, None
    rows = list(islice(rows_of(tables[0], ledger), SAMPLE_ROWS))
    if not rows:
        return None, None
    try:
        columns = choose_columns(rows, tables[0].name, text=column, pair=None, label=None)
    except DataError:
        return None, None
    found = Counter(name for row in rows if (name := label_name(row.fields.get(columns.label))) is not None)
    is_named = str(columns.label).strip().lower() in LABEL_NAMES
    if len(found) < 2 or not (is_named or (len(found) <= MOST_CLASSES and 10 * len(found) <= len(rows))):
        return None, None
    return columns, dict(found.most_common())
