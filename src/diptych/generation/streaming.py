"""From tokens to text as they come: no half characters, and an end at a stop string even across token borders."""

from collections.abc import Sequence

from tokenizers import decoders

from diptych.text.tokenizer import Tokenizer

UNFINISHED = "\ufffd"


class TextStream:
    """The text of one answer, piece by piece.

    Joining all that `push` and `flush` return gives `tokenizer.decode` of all tokens, up to the first stop string.

    Args:
        after: the last token of what the answer goes on from: it decides whether the first word has a space before it.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = (), after: int | None = None) -> None:
        self._tokenizer = tokenizer
        self._stop = [text for text in stop if text]
        self._ids: list[int] = [] if after is None else [after]
        self._begin = len(tokenizer.decode(self._ids))
        self._is_bytes = isinstance(tokenizer.backend.decoder, decoders.ByteLevel)
        self._settled = ""
        self._given = 0
        self.is_stopped = False
        self.text = ""

    def push(self, token: int) -> str:
        """Take one more token; the text that is now certain."""
        if self.is_stopped:
            return ""
        self._ids.append(token)
        whole = self._whole()
        if whole.endswith(UNFINISHED):
            return self._give(whole.rstrip(UNFINISHED), is_last=False)
        if self._is_bytes:
            # Bytes after a whole character mean what they mean alone, so that a long answer is not decoded again with each token.
            self._settled, self._ids, self._begin = whole, [], 0
        return self._give(whole, is_last=False)

    def flush(self) -> str:
        """What was held back, when no more tokens come."""
        if self.is_stopped:
            return ""
        return self._give(self._whole(), is_last=True)

    def _whole(self) -> str:
        return self._settled + self._tokenizer.decode(self._ids)[self._begin :]

    def _give(self, certain: str, *, is_last: bool) -> str:
        places = [place for place in (certain.find(text) for text in self._stop) if place >= 0]
        if places:
            self.is_stopped = True
            end = min(places)
        else:
            end = len(certain) - (0 if is_last else self._held_back(certain))
        new = certain[self._given : end]
        if end > self._given:
            self._given = end
        self.text += new
        return new

    def _held_back(self, text: str) -> int:
        """How many characters at the end may be the beginning of a stop string."""
        longest = max((len(stop) for stop in self._stop), default=0)
        for length in range(min(longest - 1, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stop):
                return length
        return 0
