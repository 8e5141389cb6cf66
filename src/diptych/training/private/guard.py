"""What can be clipped exactly: every weight that learns is in a layer whose arithmetic is known here, or training does not begin.

A batch norm mixes people, a fused recurrent layer hides what comes back to it, a layer that is shared under two names has a gradient
that neither name's measure sees. A wrong measure of a gradient is no error that shows: the promise is broken and all looks well.
"""

from typing import Any

from torch import nn

from diptych.errors import TrainingError
from diptych.kernels.linear import Linear
from diptych.kernels.rms_norm import RMSNorm
from diptych.models.heads import LanguageHead
from diptych.models.layers import Joined
from diptych.surgery.low_rank import LowRank

EXACT = (nn.Linear, Linear, Joined, nn.Embedding, nn.LayerNorm, nn.RMSNorm, RMSNorm)
"""These classes and none of their children, which may do otherwise."""
MIXING = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)


def check_layers(net: Any) -> None:
    """
    Raises:
        TrainingError E551: a layer that learns, or mixes texts, and cannot be clipped exactly. E552: a weight under two names.
        E556: nothing learns.
    """
    modules = dict(net.named_modules(remove_duplicate=False))
    owners: dict[nn.Parameter, tuple[str, nn.Module]] = {}
    for name, parameter in net.named_parameters(remove_duplicate=False):
        owner = modules[name.rpartition(".")[0]]
        # One module in two places, as the pooler in its heads, is one layer that is asked twice.
        first, first_owner = owners.setdefault(parameter, (name, owner)) if parameter.requires_grad else (name, owner)
        if first_owner is not owner:
            raise TrainingError("E552", first=first, second=name)
    if not owners:
        raise TrainingError("E556")
    for name, module in modules.items():
        if isinstance(module, MIXING):
            raise TrainingError("E551", module=name, kind=type(module).__name__)
    for name, owner in owners.values():
        # The matrices of an adapter stand in lists of their own.
        outer = modules[name.rpartition(".")[0].rpartition(".")[0]] if isinstance(owner, nn.ParameterList) else owner
        if not _is_exact(owner, outer, name.rpartition(".")[2]):
            raise TrainingError("E551", module=name, kind=type(owner).__name__)


def _is_exact(owner: nn.Module, outer: nn.Module, which: str) -> bool:
    if hasattr(owner, "parametrizations"):
        return False
    if isinstance(owner, nn.ParameterList):
        return type(outer) is LowRank
    if isinstance(owner, LanguageHead):
        return type(owner) is LanguageHead and which == "bias_V"
    if isinstance(owner, nn.Embedding) and (owner.max_norm is not None or owner.padding_idx is not None or owner.scale_grad_by_freq):
        return False
    return type(owner) in EXACT
