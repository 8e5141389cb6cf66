"""Reading texts with marked stretches: columns of tokens and tags (CoNLL), segmented text, and JSON with spans.

Whatever the file holds, a row is a text and its spans in characters. Tokens of a column file are joined as their language
is written: with a space between, except beside a Chinese character. Whole words that carry a class each (parts of speech,
word segmentation) are spans as well, so one task serves them all.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.messages import _
from diptych.tasks.groups import CommentGroup, group_of
from diptych.tasks.spans import BARE_LABEL, Span, is_tag, spans_of_tags
from diptych.text.files import Source, find_sources, read_lines
from diptych.text.tables import is_columnar, name_of, read_table
from diptych.text.words import is_wide

SPAN_NAMES = ("spans", "entities", "labels", "label", "tags", "ents", "标注", "实体")
TEXT_NAMES = ("text", "sentence", "content", "正文", "文本")
COLUMN_FILES = (
    ".conll",
    ".conllu",
    ".iob",
    ".iob1",
    ".iob2",
    ".bio",
    ".bmes",
    ".tags",
    ".props",
    ".txt",
    ".dev",
    ".train",
    ".test",
    ".tsv",
)


@dataclass(frozen=True, slots=True)
class TaggedRow:
    """A text and its marked stretches."""

    texts: tuple[str]
    spans: tuple[Span, ...]
    where: str
    group: str | None = None
    stratum: None = None

    @property
    def gold(self) -> tuple[tuple[int, int, str], ...]:
        return tuple(span.key for span in self.spans)


def read_tagged(
    source: Any, ledger: Ledger, *, ends: str | None = None, form: str | None = None, group: str | None = None
) -> tuple[list[TaggedRow], dict[str, str | None]]:
    """The rows of a file, a pattern or a list, and the format that was found.

    Args:
        source: a path; or in Python (text, spans) or (tokens, tags) pairs, or dictionaries as in a JSON file.
        ends: whether the ends of spans in JSON are "exclusive" or "inclusive"; None finds out by looking.
        form: "columns", "words" (segmented text, a sentence a line) or "spans"; None finds out by looking.
        group: what belongs together: a field of the rows in JSON, or the name in the comments `# NAME = value` of a column file.

    Raises:
        DataError E101, E132, E133, E141 to E144, E180: what is wrong, where.
    """
    rows: list[TaggedRow] = []
    found: dict[str, str | None] = {}
    if isinstance(source, str | Path) or (isinstance(source, list | tuple) and source and all(isinstance(each, Path) for each in source)):
        paths = [Path(source)] if isinstance(source, str | Path) else [Path(each) for each in source]
        for each in find_sources(paths, ledger, is_any_kind=True):
            kind = form or _form(each, ledger)
            found["format"] = kind
            if kind == "spans":
                more, found["ends"] = _from_json(list(read_table(each.path, ledger)), ledger, ends, group)
            elif kind == "words":
                more = list(_from_words(each, ledger, group))
            else:
                more = list(_from_columns(each, ledger, group))
            rows += more
    else:
        items = [row.fields for row in read_table(source)] if is_columnar(source) else list(source)
        pairs = [item for item in items if not isinstance(item, Mapping)]
        if len(pairs) == len(items) and items:
            if group is not None:
                raise DataError("E180", name=_("the table"), group=group)
            rows = [_from_pair(item, f"row {number}") for number, item in enumerate(items, 1)]
            found["format"] = "pairs"
        else:
            rows, found["ends"] = _from_json(list(read_table(items, ledger)), ledger, ends, group)
            found["format"] = "spans"
    rows = [row for row in rows if row.texts[0].strip()]
    if not rows:
        raise DataError("E132", name=name_of(source))
    ledger.add("table", "rows read", len(rows))
    return rows, found


def label_set(rows: Sequence[TaggedRow]) -> tuple[str, ...]:
    """The kinds of stretches in some rows, the most frequent first where they are many."""
    counts = Counter(span.label for row in rows for span in row.spans)
    if not counts:
        raise DataError("E142", count=len(rows))
    return tuple(sorted(counts))


def join_tokens(tokens: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """Tokens as a text, and from which to which character each reaches."""
    text, offsets = "", []
    for token in tokens:
        # Half-width brackets and points stand close to what they belong to in Chinese text only.
        glued = not text or is_wide(text[-1]) or is_wide(token[:1]) or (is_cjk_mark(token[:1]) or is_cjk_mark(text[-1]))
        text += "" if glued else " "
        offsets.append((len(text), len(text) + len(token)))
        text += token
    return text, offsets


def is_cjk_mark(character: str) -> bool:
    return bool(character) and ("\u3000" <= character <= "\u303f" or "\uff00" <= character <= "\uffef")


def _form(source: Source, ledger: Ledger) -> str:
    """What a file holds, by its first lines."""
    if source.suffix in (".json", ".jsonl", ".parquet"):
        return "spans"
    lines = []
    for line in read_lines(source, Ledger()):
        if line.strip() and not line.startswith("#"):
            lines.append(line.rstrip("\n"))
        if len(lines) == 50:
            break
    if not lines:
        raise DataError("E132", name=source.name)
    columns = Counter(len(_cells(line)) for line in lines)
    most, count = columns.most_common(1)[0]
    return "columns" if most >= 2 and count >= 0.9 * len(lines) and all(len(_cells(line)[0]) < 60 for line in lines) else "words"


def _cells(line: str) -> list[str]:
    return line.split("\t") if "\t" in line else line.split()


def _from_columns(source: Source, ledger: Ledger, group: str | None) -> Iterator[TaggedRow]:
    tokens: list[str] = []
    tags: list[str] = []
    first = 1
    token_at, tag_at = _columns_of(source)
    owner = CommentGroup(group, source.name)
    for number, line in enumerate([*read_lines(source, ledger), ""], 1):
        line = line.rstrip("\n")
        if not line.strip():
            if tokens:
                yield _row(tokens, tags, f"{source.name}, line {first}", owner.now())
            tokens, tags, first = [], [], number + 1
            continue
        if line.startswith("#") and ("=" in line or line.startswith("# ")):
            owner.see(line)
            continue
        cells = _cells(line)
        if len(cells) <= max(token_at, tag_at):
            raise DataError("E143", where=f"{source.name}, line {number}", line=line[:40])
        # Weibo's first column is a character and its place in the word.
        token = cells[token_at]
        tokens.append(token[0] if len(token) == 2 and is_wide(token[0]) and token[1].isdigit() else token)
        tags.append(cells[tag_at])


def _columns_of(source: Source) -> tuple[int, int]:
    """Which column holds the tokens and which the tags: the tags are those that look like a scheme, or the last."""
    lines = []
    for line in read_lines(source, Ledger()):
        if line.strip() and not line.startswith("#"):
            lines.append(_cells(line.rstrip("\n")))
        if len(lines) == 200:
            break
    width = Counter(map(len, lines)).most_common(1)[0][0]
    lines = [cells for cells in lines if len(cells) == width]
    token_at = 1 if width > 2 and all(cells[0].replace("-", "").replace(".", "").isdigit() for cells in lines) else 0
    schemes = [at for at in range(token_at + 1, width) if all(is_tag(cells[at]) for cells in lines)]
    varied = [at for at in schemes if len({cells[at] for cells in lines}) > 1]
    return token_at, (varied or schemes or [width - 1])[0]


def _row(tokens: list[str], tags: list[str], where: str, group: str | None = None) -> TaggedRow:
    text, offsets = join_tokens(tokens)
    if all(is_tag(tag) for tag in tags):
        spans = [Span(offsets[first][0], offsets[last - 1][1], label) for first, last, label in spans_of_tags(tags, where)]
    else:
        spans = [Span(*place, tag) for place, tag in zip(offsets, tags, strict=True)]
    return TaggedRow((text,), tuple(spans), where, group)


def _from_words(source: Source, ledger: Ledger, group: str | None) -> Iterator[TaggedRow]:
    """Segmented text: words with white space between; `word/TAG` gives each a class."""
    if group is not None:
        raise DataError("E180", name=source.name, group=group)
    for number, line in enumerate(read_lines(source, ledger), 1):
        words = line.split()
        if not words:
            continue
        parts = [re.fullmatch(r"(.+)/([\w-]{1,8})", word) for word in words]
        is_classed = all(parts)
        plain = [part[1] for part in parts if part] if is_classed else words
        text, offsets = "".join(plain), []
        if not any(map(is_wide, text)):
            text, offsets = join_tokens(plain)
        else:
            start = 0
            for word in plain:
                offsets.append((start, start + len(word)))
                start += len(word)
        labels = [part[2] for part in parts if part] if is_classed else [BARE_LABEL] * len(plain)
        spans = tuple(Span(*place, label) for place, label in zip(offsets, labels, strict=True))
        yield TaggedRow((text,), spans, f"{source.name}, line {number}")


def _from_json(rows: Sequence[Any], ledger: Ledger, ends: str | None, group: str | None) -> tuple[list[TaggedRow], str]:
    if not rows:
        return [], ends or "exclusive"
    fields = rows[0].fields
    text_name = next((name for name in TEXT_NAMES if name in fields), None)
    span_name = next((name for name in SPAN_NAMES if name in fields), None)
    if "tokens" in fields and ("tags" in fields or "ner_tags" in fields):
        tags = "tags" if "tags" in fields else "ner_tags"
        return [
            _row(list(map(str, row.fields["tokens"])), list(map(str, row.fields[tags])), row.where, group_of(row.fields, group, row.where))
            for row in rows
        ], "exclusive"
    if text_name is None or span_name is None:
        raise DataError("E144", where=rows[0].where, columns=", ".join(map(str, fields)))
    raw = []
    for row in rows:
        spans = [span_of(item, row.where) for item in row.fields[span_name] or ()]
        raw.append((str(row.fields[text_name] or ""), spans, row.where))
    owners = [group_of(row.fields, group, row.where) for row in rows]
    chosen = ends or _find_ends(raw)
    found = []
    for (text, spans, where), owner in zip(raw, owners, strict=True):
        shift = 1 if chosen == "inclusive" else 0
        kept = []
        for start, stop, label, said in spans:
            stop += shift
            if not 0 <= start < stop <= len(text) or (said is not None and text[start:stop] != said):
                ledger.add("table", "spans that do not lie where the data says, dropped", where=where)
                continue
            kept.append(Span(start, stop, label))
        found.append(TaggedRow((text,), untangled(kept, ledger, where), where, owner))
    return found, chosen


def span_of(item: Any, where: str) -> tuple[int, int, str, str | None]:
    """(start, stop, label, what it says it marks) of a list or a dictionary in any of the usual spellings."""
    try:
        if isinstance(item, Mapping):
            start = item.get("start", item.get("start_offset", item.get("begin", item.get("start_idx"))))
            stop = item.get("end", item.get("end_offset", item.get("stop", item.get("end_idx"))))
            label = item.get("label", item.get("type", item.get("tag", item.get("entity"))))
            said = item.get("text", item.get("word", item.get("mention")))
            return int(start), int(stop), str(label), None if said is None else str(said)  # type: ignore[arg-type]
        start, stop, label = item[:3]
        return int(start), int(stop), str(label), None
    except (TypeError, ValueError, IndexError):
        raise DataError("E145", where=where, item=repr(item)[:60]) from None


def _find_ends(raw: Sequence[tuple[str, list[tuple[int, int, str, str | None]], str]]) -> str:
    """ "inclusive" where that is what the marked words say, or where spans would be empty or end within a Latin word otherwise."""
    votes = {"inclusive": 0, "exclusive": 0}
    for text, spans, _where in raw[:2000]:
        for start, stop, _label, said in spans:
            if said is not None:
                votes["exclusive"] += text[start:stop] == said
                votes["inclusive"] += text[start : stop + 1] == said
            elif start == stop:
                votes["inclusive"] += 10
            elif 0 < stop < len(text) and text[stop - 1].isalnum() and text[stop].isascii() and text[stop].isalnum():
                # An exclusive end would cut a word in two here.
                votes["inclusive"] += 1
            else:
                votes["exclusive"] += 1
    return "inclusive" if votes["inclusive"] > votes["exclusive"] else "exclusive"


def untangled(spans: list[Span], ledger: Ledger, where: str) -> tuple[Span, ...]:
    """The spans in order, none over another: of two that overlap the longer stays, since a token has one tag."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda each: (each.start - each.stop, each.start)):
        if any(span.start < other.stop and other.start < span.stop for other in kept):
            ledger.add("table", "spans that overlap a longer one, dropped", where=where)
        else:
            kept.append(span)
    return tuple(sorted(kept, key=lambda each: each.start))


def _from_pair(item: Any, where: str) -> TaggedRow:
    """(text, spans) or (tokens, tags)."""
    try:
        first, second = item
    except (TypeError, ValueError):
        raise DataError("E145", where=where, item=repr(item)[:60]) from None
    if isinstance(second, str) or not hasattr(second, "__iter__"):
        raise DataError("E145", where=where, item=repr(second)[:60])
    if isinstance(first, str):
        spans = [each if isinstance(each, Span) else Span(*span_of(each, where)[:3]) for each in second]
        for span in spans:
            if not 0 <= span.start < span.stop <= len(first):
                raise DataError("E145", where=where, item=repr(span.key))
        return TaggedRow((first,), tuple(sorted(spans, key=lambda each: each.start)), where)
    if len(first) != len(second):
        raise DataError("E146", where=where, tokens=len(first), tags=len(second))
    return _row([str(token) for token in first], [str(tag) for tag in second], where)
