"""A model with its tokenizer in one file that llama.cpp opens, and everything that builds on llama.cpp."""

import os
from pathlib import Path
from typing import Any, get_args

from diptych.errors import RecipeError, UsageError
from diptych.formats.atomic import full_disk_is_named
from diptych.formats.gguf import Precision, write_gguf
from diptych.kernels.int8 import is_int8
from diptych.ledger import Ledger
from diptych.messages import mark
from diptych.text.gguf_vocabulary import write_vocabulary
from diptych.text.tokenizer import Tokenizer

FORMATS = ("gguf",)
PRECISIONS: tuple[str, ...] = get_args(Precision)
STAGE = mark("export")


def export_gguf(net: Any, tokenizer: Tokenizer, out: str | Path, precision: str, ledger: Ledger) -> Path:
    """Write a GGUF file, whole or not at all.

    Raises:
        RecipeError E403: an unknown precision. ModelError E326, E327: llama.cpp has no such tokenizer or model.
        UsageError E652: it is in eight bits. MachineError E902, E904: the file cannot be written.
    """
    if precision not in PRECISIONS:
        raise RecipeError("E403", where="export", key="type", value=precision, problem=", ".join(PRECISIONS))
    if is_int8(net):
        raise UsageError("E652")
    path = Path(out)
    metadata = {"general.name": path.stem, **write_vocabulary(tokenizer, net.config.vocab_size)}
    part = path.with_name(f".{path.name}.part")
    with full_disk_is_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            left_out = write_gguf(net, metadata, part, precision)  # type: ignore[arg-type]
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    for head in left_out:
        ledger.add(STAGE, "heads that a GGUF file has no place for", where=head)
    return path
