"""The families we read and write; adding one is adding a file and a line here."""

from diptych.models.families import bart, bert, distilbert, gpt2, gpt_neo, llama, marian, modernbert, mpt, recurrent, roberta, t5
from diptych.models.families.family import Family

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        bert.FAMILY,
        roberta.FAMILY,
        distilbert.FAMILY,
        modernbert.FAMILY,
        modernbert.DECODER,
        gpt2.FAMILY,
        gpt_neo.FAMILY,
        mpt.FAMILY,
        llama.LLAMA,
        llama.MISTRAL,
        llama.QWEN3,
        bart.FAMILY,
        marian.FAMILY,
        t5.FAMILY,
        *recurrent.FAMILIES,
    )
}
"""By Hugging Face's `model_type`."""
