"""A network whose large matrices are in eight bits: those of its layers, and the one of its vocabulary.

Norms, biases, positions and the small heads stay as they are: they are a hundredth of the bytes, and most of the harm.
"""

from collections.abc import Iterable

from torch import nn

from diptych.kernels.int8 import Int8Embedding, Int8Linear
from diptych.models.heads import LanguageHead
from diptych.models.layers import Embedding
from diptych.models.transformer import Network


def large_matrices(net: Network) -> list[str]:
    """The modules of `net` that can be in eight bits, by name."""
    found = []
    for name, module in net.named_modules():
        is_layer = isinstance(module, nn.Linear) and (name.startswith("body.") or name == "heads.lm.decoder")
        if is_layer or (isinstance(module, nn.Embedding) and name.endswith("embedding.tokens")):
            found.append(name)
    return found


def to_int8(net: Network, names: Iterable[str] | None = None) -> None:
    """Put those modules in eight bits, in place; None for all that can be. Nothing of the network learns after that."""
    net.requires_grad_(False)
    for name in list(large_matrices(net) if names is None else names):
        module = net.get_submodule(name)
        if isinstance(module, nn.Linear):
            net.set_submodule(name, Int8Linear(module))
        elif isinstance(module, nn.Embedding):
            small = Int8Embedding(module)
            net.set_submodule(name, small)
            _share(net, module, small)


def _share(net: Network, before: nn.Embedding, after: Int8Embedding) -> None:
    """Let those that read the vectors of tokens without owning them, a decoder and the language head, read the new ones."""
    for module in net.modules():
        if isinstance(module, Embedding):
            module.share(before, after)
        elif isinstance(module, LanguageHead):
            module.tie(before, after)
