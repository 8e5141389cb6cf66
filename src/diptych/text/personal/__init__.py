"""What is personal in a text, found by rules that check, and taken out."""

from diptych.text.personal.find import CHECKED, KINDS, USUAL_KINDS, find_personal
from diptych.text.personal.replacing import STAGE, Mode, Scrubbing, scrub, scrub_text
from diptych.text.personal.rules import Rules
from diptych.text.personal.spans import Personal

__all__ = ["CHECKED", "KINDS", "STAGE", "USUAL_KINDS", "Mode", "Personal", "Rules", "Scrubbing", "find_personal", "scrub", "scrub_text"]
