"""Commands for text before there is a model: `corpus` and `tokenizer`."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from diptych.messages import _, mark

LANGUAGES = {"en": mark("English"), "zh": mark("Chinese"), "mixed": mark("mixed"), "other": mark("other")}

Paths = Annotated[list[str], typer.Argument(help="Files, folders or patterns.")]
Column = Annotated[str | None, typer.Option("--text", help="The column of a table that holds the text.")]
Encoding = Annotated[str | None, typer.Option(help="Read every file in this encoding instead of detecting it.")]
Kind = Literal["bpe", "wordpiece", "unigram", "characters"]
Panel = Literal["causal", "masked"]
Scrub = Literal["mask", "pseudonym", "remove"]
Kinds = Annotated[
    str | None, typer.Option(help="Which kinds, with commas between, or all; the default is all but days and places.", show_default=False)
]
Rules = Annotated[str | None, typer.Option(help="A YAML file with rules of your own.")]
Tagger = Annotated[str | None, typer.Option(help="The folder of a model that tags people and places, asked as well.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def stats(paths: Paths, text: Column = None, encoding: Encoding = None, as_json: Json = False) -> None:
    """How much text there is, in which languages, and what could not be read."""
    from collections import Counter

    from diptych.text.corpus import Corpus
    from diptych.text.words import language_of

    corpus = Corpus([Path(path) for path in paths], text=text, encoding=encoding)
    documents = characters = size = 0
    languages: Counter[str] = Counter()
    for document in corpus:
        documents += 1
        characters += len(document.text)
        size += len(document.text.encode("utf-8", "surrogatepass"))
        languages[language_of(document.text[:5000])] += 1
    facts = {"documents": documents, "characters": characters, "bytes": size, "languages": dict(languages)}
    if as_json:
        print(json.dumps({**facts, "ledger": corpus.ledger.to_json()}, ensure_ascii=False))
        return
    print(_("{documents:,} documents, {characters:,} characters, {bytes:,} bytes").format(**facts))
    found = ", ".join(f"{_(LANGUAGES[name])} {count:,}" for name, count in languages.most_common())
    print(_("languages: {languages}").format(languages=found))
    for line in corpus.ledger.lines():
        print(f"  {line}")


def clean(
    paths: Paths,
    out: Annotated[str, typer.Option(help="The .jsonl file to write.")],
    text: Column = None,
    encoding: Encoding = None,
    near: Annotated[bool, typer.Option("--near", help="Drop texts that nearly equal an earlier one as well.")] = False,
    scrub: Annotated[Scrub | None, typer.Option(help="Take personal data out: mask, pseudonym or remove.")] = None,
    kinds: Kinds = None,
    rules: Rules = None,
    secret: Annotated[str | None, typer.Option(help="The file with the secret that pseudonyms follow from.")] = None,
    group: Annotated[str | None, typer.Option(help="The column that says whose a text is: its dates move together.")] = None,
    tagger: Tagger = None,
    as_json: Json = False,
) -> None:
    """Tidy a corpus and write it as JSON lines, each text once, on demand without personal data."""
    from diptych import runtime
    from diptych.config import ScrubSettings
    from diptych.ledger import Ledger
    from diptych.scrubbing import recall_of, scrubbing_of
    from diptych.text.clean import Cleaning
    from diptych.text.clean import clean as tidy
    from diptych.text.corpus import Corpus
    from diptych.text.dedup import deduplicate
    from diptych.text.personal import scrub as without_personal

    ledger = Ledger()
    corpus = Corpus([Path(path) for path in paths], text=text, encoding=encoding)
    documents = tidy(corpus, Cleaning(), ledger)
    if scrub is not None:
        named = None if kinds is None else [kind.strip() for kind in kinds.split(",") if kind.strip()]
        settings = ScrubSettings(mode=scrub, kinds=named, rules=rules, secret=secret, tagger=tagger)
        documents = without_personal(documents, scrubbing_of(settings, group=group), ledger)
    elif kinds or rules or secret or group or tagger:
        raise typer.BadParameter(_("this is for --scrub mask, pseudonym or remove"))
    lines = (
        json.dumps({"text": document.text, "where": document.where}, ensure_ascii=False) + "\n"
        for document in deduplicate(documents, ledger, near=near)
    )
    count = runtime.write_lines(out, lines)
    ledger.merge(corpus.ledger)
    if as_json:
        print(json.dumps({"documents": count, "out": out, "ledger": ledger.to_json()}, ensure_ascii=False))
        return
    print(_("{count:,} documents written to {out}").format(count=count, out=out))
    for line in ledger.lines():
        print(f"  {line}")
    if tagger is not None:
        print(_("{folder}: {recall}").format(folder=tagger, recall=recall_of(tagger)))


def check(paths: Paths, text: Column = None, encoding: Encoding = None, as_json: Json = False) -> None:
    """What training on this text would run into: bad bytes, duplicates, too little text, one document."""
    from diptych.ledger import Ledger
    from diptych.text.clean import Cleaning
    from diptych.text.clean import clean as tidy
    from diptych.text.corpus import Corpus
    from diptych.text.dedup import deduplicate

    ledger = Ledger()
    corpus = Corpus([Path(path) for path in paths], text=text, encoding=encoding)
    documents = characters = 0
    for document in deduplicate(tidy(corpus, Cleaning(), ledger), ledger):
        documents += 1
        characters += len(document.text)
    ledger.merge(corpus.ledger)
    if as_json:
        print(json.dumps({"documents": documents, "characters": characters, "ledger": ledger.to_json()}, ensure_ascii=False))
        raise typer.Exit(documents == 0)
    for line in ledger.lines():
        print(f"  {line}")
    if documents == 0:
        print(_("There is no text to train on."))
        raise typer.Exit(1)
    if documents == 1:
        print(_("One document: nothing can be held out by document, and there is no next-sentence prediction."))
    if characters < 200_000:
        print(_("{characters:,} characters are little: adapt an existing model rather than start anew.").format(characters=characters))
    print(_("{documents:,} documents can be trained on.").format(documents=documents))


def train(
    paths: Paths,
    out: Annotated[str, typer.Option(help="The folder to write the tokenizer to.")],
    kind: Annotated[Kind, typer.Option(help="How the text is cut.")] = "bpe",
    vocab_size: Annotated[int, typer.Option(help="How many tokens to learn at most.")] = 8192,
    panel: Annotated[Panel, typer.Option(help="causal for a model that writes, masked for one that understands.")] = "causal",
    text: Column = None,
    as_json: Json = False,
) -> None:
    """Learn a tokenizer that Hugging Face's AutoTokenizer opens."""
    from diptych.ledger import Ledger
    from diptych.text.corpus import Corpus
    from diptych.text.tokenizer import Tokenizer

    ledger = Ledger()
    corpus = Corpus([Path(path) for path in paths], text=text)
    tokenizer = Tokenizer.train((document.text for document in corpus), kind, vocab_size, panel=panel, ledger=ledger)
    ledger.merge(corpus.ledger)
    Path(out).mkdir(parents=True, exist_ok=True)
    tokenizer.save(out)
    if as_json:
        print(json.dumps({"tokens": tokenizer.vocab_size, "out": out, "ledger": ledger.to_json()}, ensure_ascii=False))
        return
    print(_("{count:,} tokens written to {out}").format(count=tokenizer.vocab_size, out=out))
    for line in ledger.lines():
        print(f"  {line}")


def show(
    folder: Annotated[str, typer.Argument(help="A model or tokenizer folder, or the name of an installed model.")],
    text: Annotated[str, typer.Argument(help="The text to cut.")],
    as_json: Json = False,
) -> None:
    """How a text is cut into tokens."""
    from diptych.installed import find_model
    from diptych.text.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(folder if (Path(folder) / "tokenizer.json").exists() else find_model(folder))
    ids, offsets = tokenizer.encode_offsets(text)
    rows = [{"token": tokenizer.token(i), "id": i, "start": start, "end": end} for i, (start, end) in zip(ids, offsets, strict=True)]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return
    print(" | ".join(str(row["token"]) for row in rows))
    print(_("{tokens} tokens for {characters} characters").format(tokens=len(ids), characters=len(text)))


def personal(
    text: Annotated[str, typer.Argument(help="A text, or - for standard input.")],
    kinds: Kinds = None,
    rules: Rules = None,
    tagger: Tagger = None,
    as_json: Json = False,
) -> None:
    """What is personal in a text, and where it stands."""
    import sys

    from diptych.scrubbing import find_personal

    given = sys.stdin.read() if text == "-" else text
    named = None if kinds is None else [kind.strip() for kind in kinds.split(",") if kind.strip()]
    found = find_personal(given, named, rules=rules, tagger=tagger)
    if as_json:
        print(json.dumps([{**each.to_json(), "text": given[each.start : each.stop]} for each in found], ensure_ascii=False))
        return
    for each in found:
        print(f"{each.start:>6}-{each.stop:<6} {each.kind:<16} {given[each.start : each.stop]}")
    print(_("{count:,} found").format(count=len(found)))


def find(
    text: Annotated[str, typer.Argument(help="A text, or - for standard input; with --file the name of a file.")],
    model: Annotated[str, typer.Option(help="The model's folder.")],
    file: Annotated[bool, typer.Option("--file", help="Ask about the documents of a file, each by itself.")] = False,
    as_json: Json = False,
) -> None:
    """Whether a document was in what a model learnt from."""
    import sys

    from diptych.finding import find_in_training
    from diptych.text.corpus import Corpus

    if file:
        documents = [(document.where, document.text) for document in Corpus([Path(text)])]
    else:
        documents = [("", sys.stdin.read() if text == "-" else text)]
    found = find_in_training(model, [each for _where, each in documents])
    if as_json:
        print(json.dumps([{"where": where, **each.to_json()} for (where, _text), each in zip(documents, found, strict=True)]))
        return
    for (where, _text), each in zip(documents, found, strict=True):
        print(f"{where}: {each}" if where else each)


def add_to(app: typer.Typer) -> None:
    """Hang these commands in."""
    corpus = typer.Typer(help="Look at text, tidy it, check it.", no_args_is_help=True)
    corpus.command()(stats)
    corpus.command()(clean)
    corpus.command()(check)
    corpus.command()(personal)
    corpus.command()(find)
    app.add_typer(corpus, name="corpus")
    tokenizer = typer.Typer(help="Learn a tokenizer, or see what one does.", no_args_is_help=True)
    tokenizer.command()(train)
    tokenizer.command()(show)
    app.add_typer(tokenizer, name="tokenizer")
