"""A classifier whose confidence can be believed: `diptych calibrate`, `dt.calibrate`.

The temperature is found on one half of some labelled rows and judged on the other. It is put into the last layer, whose weights and
bias are divided by it, so that whoever opens the folder has it: no answer changes, only how sure it is said. Where the calibration
error does not fall on the other half, nothing is written.
"""

import json
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diptych import runtime
from diptych.errors import UsageError
from diptych.evaluation.calibration import Bin, Kept, coverage, reliability, temperature_of, threshold_for
from diptych.evaluation.chances import calibration_error_of
from diptych.evaluation.intervals import Score, mean_of
from diptych.ledger import Ledger
from diptych.messages import _, mark
from diptych.model import Model
from diptych.report.card import put_section
from diptych.running import load_model
from diptych.tasks import task_of_net
from diptych.tasks.labels import shown
from diptych.tasks.tables import split_rows

FEWEST = 40
"""With fewer rows neither half says anything."""


@dataclass(frozen=True)
class Confidence:
    """How well the said confidence fits, before or after: on the rows that the temperature was not found on."""

    error: Score
    """The expected calibration error, in 15 bins."""
    nats: Score
    """The mean negative log-likelihood of the right labels."""
    curve: list[Bin]


@dataclass(frozen=True)
class Calibrated:
    """What came of it.

    Attributes:
        kept: what is answered, and how much of it is right, at each threshold, after the temperature.
        target: the accuracy that was asked for; threshold: from which confidence on it is reached, None where it is not.
        is_better: whether the error fell; otherwise the model is as it was.
    """

    model: Model
    temperature: float
    before: Confidence
    after: Confidence
    accuracy: Score
    kept: list[Kept]
    target: float | None
    threshold: Kept | None
    is_better: bool
    num_fitted: int

    @property
    def verdict(self) -> str:
        """In one sentence."""
        values = {"before": self.before.error, "after": self.after.error, "temperature": self.temperature, "n": self.before.error.n}
        if not self.is_better:
            return _(
                "A temperature of {temperature:.3f} does not lower the calibration error ({before}, then {after}): left alone."
            ).format(**values)
        return _("Calibration error {before}, with a temperature of {temperature:.3f} {after} (n = {n:,}); no answer changes.").format(
            **values
        )

    def lines(self) -> list[str]:
        """The whole of it in lines."""
        lines = [self.verdict]
        lines.append(_("negative log-likelihood: {before}, then {after}").format(before=self.before.nats, after=self.after.nats))
        lines.append(_("accuracy of all answers: {accuracy}").format(accuracy=self.accuracy))
        if self.target is not None and self.threshold is None:
            lines.append(_("No confidence is high enough to promise that {target:.1%} are right.").format(target=self.target))
        if self.target is not None and self.threshold is not None:
            text = _(
                "From a confidence of {threshold:.2f} on at least {target:.1%} are right: {accuracy:.1%} of the {coverage:.1%} answered."
            )
            own = self.threshold
            values = {"threshold": own.threshold, "accuracy": own.accuracy, "coverage": own.coverage}
            lines.append(text.format(target=self.target, **values))
        return lines

    def __str__(self) -> str:
        rows = [
            _("{threshold:.2f}: {coverage:.1%} answered, {accuracy:.1%} right").format(
                threshold=each.threshold, coverage=each.coverage, accuracy=each.accuracy
            )
            for each in self.kept
            if round(100 * each.threshold) % 10 == 0 and each.threshold >= 0.5
        ]
        return "\n".join([*self.lines(), _("Abstaining below a confidence:"), *(f"  {row}" for row in rows)])

    def to_json(self) -> dict[str, Any]:
        def plain(score: Score) -> dict[str, Any]:
            return {key: value for key, value in asdict(score).items() if not isinstance(value, float) or np.isfinite(value)}

        both = {
            name: {"error": plain(each.error), "nats": plain(each.nats), "curve": [asdict(one) for one in each.curve]}
            for name, each in (("before", self.before), ("after", self.after))
        }
        return {
            "temperature": self.temperature,
            "is_better": self.is_better,
            **both,
            "accuracy": plain(self.accuracy),
            "abstaining": [asdict(each) for each in self.kept],
            "target": self.target,
            "threshold": None if self.threshold is None else asdict(self.threshold),
            "rows": {"fitted": self.num_fitted, "judged": self.before.error.n},
        }

    def save(self, path: str | Path) -> Path:
        """Write it as one page that needs no network."""
        from diptych.page import page, write_page
        from diptych.report.plots import coverage_curve, reliability_curve

        curves = {_("before"): self.before.curve, _("after"): self.after.curve} if self.is_better else {_("as it is"): self.before.curve}
        parts = [f'<p class="verdict">{escape(self.verdict)}</p>', *(f'<p class="note">{escape(line)}</p>' for line in self.lines()[1:])]
        parts += [f'<figure class="wide">{picture}</figure>' for picture in (reliability_curve(curves), coverage_curve(self.kept))]
        return write_page(Path(path), page(_("How sure it says it is, and how sure it may be"), "".join(parts)))


def calibrate(
    model: Model | str | Path, data: Any, out: str | Path | None = None, *, target: float | None = None, seed: int = 0, **columns: str
) -> Calibrated:
    """Find the temperature of a classifier, and put it into its last layer where that makes it better.

    Args:
        data: labelled rows that it was not trained on; half of them find the temperature, the others judge it.
        out: where the model goes; None writes over its own folder, where it has one.
        target: the share of right answers to find a threshold of confidence for.
        columns: `text`, `pair` and `label` by name.

    Raises:
        UsageError E847: the model does not choose one label for a text. E848: there are too few rows. E849: a target that is no share.
    """
    runtime.prepare()
    found = model if isinstance(model, Model) else load_model(model)
    task = task_of_net(found.net)
    if task is None or task.name != "classification" or task.kind != "single" or len(task.labels) < 2:
        raise UsageError("E847", heads=", ".join(found.net.heads) or _("none"))
    if target is not None and not 0 < target < 1:
        raise UsageError("E849", value=target)
    task.settings = task.settings.model_copy(update=columns)
    rows = [row for row in task.read(data, Ledger())[0] if row.label is not None]
    fitted, judged = split_rows(rows, 0.5, seed, "calibration")
    if len(rows) < FEWEST or not judged:
        raise UsageError("E848", count=len(rows), fewest=FEWEST)
    numbers = {name: number for number, name in enumerate(task.labels)}
    logits = [log_chances(found, task, part) for part in (fitted, judged)]
    gold = [np.array([numbers.get(shown(row.label), -1) for row in part]) for part in (fitted, judged)]
    temperature = temperature_of(logits[0], gold[0])
    before, after = (_confidence(logits[1] / scale, gold[1]) for scale in (1.0, temperature))
    is_better = after.error.value < before.error.value
    scale = temperature if is_better else 1.0
    chances_N, right_N = _said(logits[1] / scale, gold[1])
    kept = coverage(chances_N, right_N)
    threshold = None if target is None else threshold_for(target, chances_N, right_N)
    accuracy = mean_of("accuracy", right_N).score()
    result = Calibrated(found, temperature, before, after, accuracy, kept, target, threshold, is_better, len(fitted))
    if is_better:
        divide(found, task, temperature)
    place = out if out is not None else found.folder if found.folder is not None and (found.folder / "diptych").is_dir() else None
    if place is not None:
        _keep(result, Path(place))
    return result


def log_chances(model: Model, task: Any, rows: Any) -> np.ndarray:
    """The log-probability of each label of each row, which are logits up to a constant of the row: [N, C]."""
    model.net.eval()
    said = task.predict(model.net, model.tokenizer, task.inputs(rows))
    chances = np.array([[each.probabilities[name] for name in task.labels] for each in said])
    return np.log(np.clip(chances, 1e-38, 1.0))


def divide(model: Model, task: Any, temperature: float) -> None:
    """Divide the logits of the classifier's head by a number, in its last layer; the threshold of two classes moves with them."""
    output = model.net.heads["classes"].output
    with torch.no_grad():
        output.weight /= temperature
        if output.bias is not None:
            output.bias /= temperature
    own = dict(model.config.task)
    if own.get("threshold", 0.5) != 0.5:
        odds = np.log(own["threshold"] / (1 - own["threshold"])) / temperature
        model.net.set_config(task=tuple({**own, "threshold": float(1 / (1 + np.exp(-odds)))}.items()))


def _confidence(logits_NC: np.ndarray, gold_N: np.ndarray) -> Confidence:
    chances_N, right_N = _said(logits_NC, gold_N)
    logs_NC = (
        logits_NC - np.log(np.exp(logits_NC - logits_NC.max(1, keepdims=True)).sum(1, keepdims=True)) - logits_NC.max(1, keepdims=True)
    )
    known = gold_N >= 0
    nats = mean_of(mark("negative log-likelihood"), -logs_NC[known, gold_N[known]])
    return Confidence(
        calibration_error_of(mark("calibration error"), chances_N, right_N).score(), nats.score(), reliability(chances_N, right_N)
    )


def _said(logits_NC: np.ndarray, gold_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(how probable the most probable label is, whether it is right)"""
    shares = np.exp(logits_NC - logits_NC.max(1, keepdims=True))
    return shares.max(1) / shares.sum(1), logits_NC.argmax(1) == gold_N


def _keep(result: Calibrated, folder: Path) -> None:
    if result.is_better or not (folder / "config.json").is_file():
        result.model.save(folder)
    inner = folder / "diptych"
    inner.mkdir(exist_ok=True)
    (inner / "calibration.json").write_text(json.dumps(result.to_json(), ensure_ascii=False, indent=1), encoding="utf-8")
    result.save(inner / "calibration.html")
    put_section(folder / "README.md", "calibration", _("Calibration"), result.lines())
