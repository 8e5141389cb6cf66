"""A language model behind an OpenAI-compatible address: the few calls that are needed, by the standard library alone.

The key comes from an environment variable, goes into one header, and into no file, message or log; answers that send the request
elsewhere are not followed, so that it goes nowhere else.
"""

import json
import math
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from diptych.errors import TrainingError

ATTEMPTS = 3
MOST_LOGPROBS = 20
"""So many alternatives to a token the protocol gives at most."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(frozen=True)
class Service:
    """Where it is (`http://127.0.0.1:8000/v1`), what it calls the model, and which environment variable holds the key."""

    address: str
    model: str
    key: str | None = None
    seconds: float = 120.0
    """How long one answer may take."""

    def ask(self, prompt: str, *, max_tokens: int, temperature: float = 0.0, seed: int = 0, top_logprobs: int = 0) -> dict[str, Any]:
        """The first choice of a chat completion: `message`, and `logprobs` where they were asked for and are given.

        Raises:
            TrainingError E538: it cannot be reached, or refuses. E539: what it answers is no completion. E540: there is no key.
        """
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": max_tokens,
            "temperature": temperature,
            "seed": seed,
        }
        if top_logprobs:
            body |= {"logprobs": True, "top_logprobs": min(top_logprobs, MOST_LOGPROBS)}
        answer = self._post("chat/completions", body)
        try:
            choice = answer["choices"][0]
            assert isinstance(choice["message"].get("content") or "", str)
        except (KeyError, IndexError, TypeError, AttributeError, AssertionError):
            raise TrainingError("E539", address=self.address, answer=json.dumps(answer, ensure_ascii=False)[:200]) from None
        return choice

    def write(self, prompt: str, *, max_tokens: int, temperature: float, seed: int) -> str:
        """What it writes."""
        return self.ask(prompt, max_tokens=max_tokens, temperature=temperature, seed=seed)["message"].get("content") or ""

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        headers = {"Content-Type": "application/json"}
        if self.key is not None:
            secret = os.environ.get(self.key)
            if not secret:
                raise TrainingError("E540", name=self.key)
            headers["Authorization"] = f"Bearer {secret}"
        if not self.address.startswith(("http://", "https://")):
            raise TrainingError("E538", address=self.address, problem="http://, https://")
        request = urllib.request.Request(f"{self.address.rstrip('/')}/{path}", json.dumps(body).encode(), headers)
        opener = urllib.request.build_opener(_NoRedirect)
        problem: object = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(2.0 ** (attempt - 1))
            try:
                with opener.open(request, timeout=self.seconds) as response:
                    return json.loads(response.read())
            except urllib.error.HTTPError as error:
                problem = f"HTTP {error.code}"
                if error.code != 429 and error.code < 500:
                    break
            except ValueError as error:
                raise TrainingError("E539", address=self.address, answer=str(error)) from None
            except (OSError, HTTPException) as error:
                problem = getattr(error, "reason", error)
        raise TrainingError("E538", address=self.address, problem=problem)


def choose(service: Service, text: str, labels: Sequence[str]) -> list[float]:
    """The log-probability that `service` gives each label for `text`, in the order of `labels`.

    Up to twenty labels are offered under letters, whose probabilities are read from the first token; a service that gives none, or
    that has more labels to choose from, is taken at its word, with a hundredth left for the others.

    Raises:
        TrainingError E538, E539, E540: as `Service.ask`; E539 as well where the answer is none of the labels.
    """
    is_lettered = len(labels) <= MOST_LOGPROBS
    marks = [chr(ord("A") + number) for number in range(len(labels))] if is_lettered else list(labels)
    offered = [f"{mark}. {label}" if is_lettered else label for mark, label in zip(marks, labels, strict=True)]
    question = f"Which label fits the text? Answer with {'the letter' if is_lettered else 'it'} alone."
    prompt = "\n".join([question, "", "Labels:", *offered, "", "Text:", text, "", "Answer:"])
    choice = service.ask(prompt, max_tokens=1 if is_lettered else 32, top_logprobs=MOST_LOGPROBS)
    chances = dict.fromkeys(marks, 0.0)
    for token, logprob in _first_tokens(choice):
        if (name := token.strip()) in chances:
            chances[name] += math.exp(logprob)
    if not sum(chances.values()):
        said = (choice["message"].get("content") or "").strip().strip(".")
        if said not in chances:
            raise TrainingError("E539", address=service.address, answer=said[:200])
        chances[said] = 1.0
    total = sum(chances.values())
    rest = 0.01 / len(labels)
    return [math.log(0.99 * chance / total + rest) for chance in chances.values()]


def _first_tokens(choice: dict[str, Any]) -> list[tuple[str, float]]:
    """The alternatives to the first token of an answer, where the service gives them."""
    try:
        return [(str(each["token"]), float(each["logprob"])) for each in choice["logprobs"]["content"][0]["top_logprobs"]]
    except (KeyError, IndexError, TypeError, ValueError):
        return []
