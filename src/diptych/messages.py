"""Words for people, in English or Chinese, through the standard gettext catalogues.

English text is its own key. `_("...")` translates where a sentence is shown; `mark("...")` only marks one that is kept
for later (a catalogue, a constant). The catalogues live in `locale/`; `make messages` gathers and compiles them.
"""

import gettext
import locale
import os
from pathlib import Path

LANGUAGES = ("en", "zh")
FOLDER = Path(__file__).parent / "locale"
_current: gettext.NullTranslations | None = None
_language: str | None = None


def mark(text: str) -> str:
    """Mark `text` for translation and return it unchanged."""
    return text


def _(text: str) -> str:
    """`text` in the user's language, or unchanged where there is no translation."""
    if _current is None:
        set_language(None)
    assert _current is not None
    return _current.gettext(text) if text else text


def set_language(name: str | None) -> None:
    """Speak `name` ("en" or "zh") from now on; None follows DIPTYCH_LANG, then the locale of the system."""
    global _current, _language
    _language = _nearest(name or os.environ.get("DIPTYCH_LANG") or _system_language())
    _current = gettext.translation("diptych", FOLDER, languages=[_language], fallback=True)


def language() -> str:
    """The language in use: "en" or "zh"."""
    if _language is None:
        set_language(None)
    assert _language is not None
    return _language


def _system_language() -> str:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if os.environ.get(name):
            return os.environ[name]
    return locale.getlocale()[0] or "en"


def _nearest(name: str) -> str:
    return "zh" if name.lower().startswith(("zh", "chinese")) else "en"
