"""What a private run promises, in sentences: for the card, the report and the command line."""

from collections.abc import Mapping
from typing import Any

from diptych.messages import _, mark

UNITS = {
    "example": mark("one example as the model is shown it"),
    "document": mark("one row or document, all of it"),
    "group": mark("all rows of one group"),
    "client": mark("one client, all of its examples"),
}
ACCOUNTANTS = {"prv": mark("numerical composition (PRV)"), "rdp": mark("Rényi differential privacy (RDP)")}


def promise(privacy: Mapping[str, Any] | None) -> list[str]:
    """
    Args:
        privacy: what the regime kept of itself; None where it was not private.
    """
    if privacy is None:
        return [_("None was applied: a model can repeat what it was trained on. Do not publish it if its text is private.")]
    if privacy["epsilon"] is None:
        return [_("Gradients were clipped and no noise was added: nothing is promised.")]
    text = _("Differentially private: ε = {epsilon:.2f} at δ = {delta:.2g}. What is protected is {unit}, of {units:,}.")
    lines = [text.format(**{**privacy, "unit": _(UNITS[privacy["unit"]])})]
    text = _(
        "Accounted for by {accountant}: {steps:,} steps, each unit shown with probability {rate:.4g}, noise {noise:.4g} times the "
        "clipping length {clip:g}."
    )
    lines.append(text.format(**{**privacy, "accountant": _(ACCOUNTANTS[privacy["accountant"]])}))
    lines.append(
        _(
            "It is said of the weights and of the rows trained on. It is not said of the losses in the log, of the scores, of rows held "
            "out, of labels and lengths counted beforehand, nor of settings that were chosen by trying them on the same rows."
        )
    )
    if privacy["is_repeatable"]:
        lines.append(_("The noise followed from a key that was written down: whoever has it can take the noise away."))
    if not privacy["cryptographic"]:
        lines.append(_("The noise was drawn by a fast generator from a secret key, not by a cryptographic one."))
    return lines


def short(privacy: Mapping[str, Any]) -> str:
    """The same in a few words."""
    return "–" if privacy["epsilon"] is None else f"ε = {privacy['epsilon']:.2f}, δ = {privacy['delta']:.2g}"
