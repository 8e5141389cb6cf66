"""The families we read and write; adding one is adding a file and a line here."""

from diptych.models.families import bert, gpt2, modernbert, qwen3, recurrent
from diptych.models.families.family import Family

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        bert.FAMILY,
        gpt2.FAMILY,
        qwen3.FAMILY,
        modernbert.FAMILY,
        modernbert.DECODER,
        *recurrent.FAMILIES,
    )
}
"""By Hugging Face's `model_type`."""
