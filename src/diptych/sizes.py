"""Published sizes: the shapes of papers and model cards as presets, each named by its family and its number of parameters.

The weights of some were published and of others never; the shape is enough to count parameters, to plan, and to train anew.
`docs/sizes.md` compares what we count with what was published.
"""

import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Published:
    """A shape, and how many parameters its authors say it has."""

    family: str
    """Hugging Face's model type of whose block it is."""
    shape: dict[str, Any]
    millions: float
    """Parameters as published, rounded as they were."""
    source: str
    counted: str = "lm"
    """What the published number counts: "lm" the body with its language head, "body" without a head, "pooler" BERT's body and pooler."""


def is_unpublished(name: str) -> bool:
    """Whether a name means weights that their owner kept: GPT-3's, of whatever size."""
    return re.fullmatch(r"(openai/)?gpt-?3(-[\d.]+[mb])?", name.lower()) is not None


def _rows(family: str, source: str, counted: str, common: dict[str, Any], columns: str, rows: str) -> dict[str, Published]:
    """Presets from a small table: name, millions as published, then the `columns`."""
    found = {}
    for line in rows.strip().splitlines():
        name, millions, *values = line.split()
        shape = {**common, **dict(zip(columns.split(), map(int, values), strict=True))}
        found[name] = Published(family, shape, float(millions), source, counted)
    return found


_WIDTHS = "num_layers hidden_size num_heads feed_forward_size"
_QWEN3 = {"vocab_size": 151_936, "context_length": 40_960, "head_size": 128, "num_kv_heads": 8, "rope_theta": 1e6}
_QWEN3_CARD = "Qwen3 model cards; Yang et al. 2025, tables 1 and 2"

PUBLISHED: dict[str, Published] = {
    # Table 2.1 gives 24 heads of 128 for 1.3B and a width of 5140 for 13B, neither of which its other columns allow:
    # with 16 heads and 5120 the parameters are those that it names.
    **_rows(
        *("gpt_neo", "Brown et al. 2020, table 2.1", "lm", {"vocab_size": 50_257, "context_length": 2048}, _WIDTHS),
        """
        gpt-3-125m    125    12   768   12   3072
        gpt-3-350m    350    24  1024   16   4096
        gpt-3-760m    760    24  1536   16   6144
        gpt-3-1.3b   1300    24  2048   16   8192
        gpt-3-2.7b   2700    32  2560   32  10240
        gpt-3-6.7b   6700    32  4096   32  16384
        gpt-3-13b   13000    40  5120   40  20480
        gpt-3-175b 175000    96 12288   96  49152
        """,
    ),
    **_rows(
        *("gpt2", "openai/gpt-2 model card (124M, 355M, 774M, 1558M)", "lm", {"vocab_size": 50_257, "context_length": 1024}, _WIDTHS),
        """
        gpt2-124m   124  12  768 12 3072
        gpt2-355m   355  24 1024 16 4096
        gpt2-774m   774  36 1280 20 5120
        gpt2-1558m 1558  48 1600 25 6400
        """,
    ),
    **_rows(
        *("bert", "Devlin et al. 2018, section 3", "pooler", {"vocab_size": 30_522, "context_length": 512}, _WIDTHS),
        """
        bert-110m 110 12  768 12 3072
        bert-340m 340 24 1024 16 4096
        """,
    ),
    **_rows(
        *("modernbert", "Warner et al. 2024, table 4", "lm"),
        {"vocab_size": 50_368, "context_length": 8192, "initializer_range": 0.02},
        *(_WIDTHS, "modernbert-149m 149 22 768 12 1152\nmodernbert-395m 395 28 1024 16 2624"),
    ),
    **_rows(
        *("qwen3", _QWEN3_CARD, "lm", {**_QWEN3, "is_tied": True}, _WIDTHS),
        """
        qwen3-0.6b  600 28 1024 16 3072
        qwen3-1.7b 1700 28 2048 16 6144
        qwen3-4b   4000 36 2560 32 9728
        """,
    ),
    **_rows(
        *("qwen3", _QWEN3_CARD, "lm", {**_QWEN3, "is_tied": False}, _WIDTHS),
        """
        qwen3-8b   8200 36 4096 32 12288
        qwen3-14b 14800 40 5120 40 17408
        qwen3-32b 32800 64 5120 64 25600
        """,
    ),
    **_rows(
        *("roberta", "Liu et al. 2019, section 5", "pooler", {"vocab_size": 50_265, "context_length": 512}),
        *(_WIDTHS, "roberta-125m 125 12 768 12 3072\nroberta-355m 355 24 1024 16 4096"),
    ),
    **_rows(
        *("distilbert", "Sanh et al. 2019, table 3", "body", {"vocab_size": 30_522, "context_length": 512}),
        *(_WIDTHS, "distilbert-66m 66 6 768 12 3072"),
    ),
    **_rows(
        *("llama", "Touvron et al. 2023, table 2", "lm", {"vocab_size": 32_000, "context_length": 2048, "is_tied": False}, _WIDTHS),
        """
        llama-6.7b   6700 32 4096 32 11008
        llama-13b   13000 40 5120 40 13824
        llama-32.5b 32500 60 6656 52 17920
        llama-65.2b 65200 80 8192 64 22016
        """,
    ),
    **_rows(
        *("bart", "fairseq's table of BART models", "body", {"vocab_size": 50_265, "context_length": 1024}),
        *(f"num_decoder_layers {_WIDTHS}", "bart-140m 140 6 6 768 12 3072\nbart-400m 400 12 12 1024 16 4096"),
    ),
    **_rows(
        *("t5", "Raffel et al. 2020, section 3.7", "lm", {"vocab_size": 32_128, "context_length": 512}),
        f"num_decoder_layers head_size {_WIDTHS}",
        """
        t5-60m     60  6  64  6  512   8  2048
        t5-220m   220 12  64 12  768  12  3072
        t5-770m   770 24  64 24 1024  16  4096
        t5-2.8b  2800 24 128 24 1024  32 16384
        t5-11b  11000 24 128 24 1024 128 65536
        """,
    ),
}
