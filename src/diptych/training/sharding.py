"""Weights spread over ranks: the whole model in each of them, or a share of it in each (FSDP2).

A sharded layer is gathered when it is used and forgotten after; its gradients are added while they are scattered (Zhao et al.
2023, "PyTorch FSDP"). Gradients are sums here, never means: the loss was divided by the counts of all ranks before.
"""

import copy
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def is_sharded(tensor: Tensor) -> bool:
    """Whether this rank holds a share of the tensor alone."""
    return hasattr(tensor, "full_tensor")


def full(tensor: Tensor) -> Tensor:
    """The whole of a tensor; every rank has to ask for it."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined,no-any-return]


def shared_like(whole: Tensor, pattern: Tensor) -> Tensor:
    """This rank's share of a tensor that it has the whole of, cut as `pattern` is."""
    if not is_sharded(pattern) or whole.shape != pattern.shape:
        return whole
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(pattern, DTensor)
    return distribute_tensor(whole.to(pattern.device), pattern.device_mesh, pattern.placements, src_data_rank=None)


def copy_from_first(net: nn.Module) -> None:
    """Give every rank the first one's weights, so that they begin alike wherever each got its own from."""
    with torch.no_grad():
        for tensor in (*net.parameters(), *net.buffers()):
            dist.broadcast(tensor.data, src=0)


def shard(net: Any) -> Any:
    """Leave each rank a share of every weight of `net`, layer by layer; the same network without values, for `whole`."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

    plain = _without_values(net)
    mesh = init_device_mesh(next(net.parameters()).device.type, (dist.get_world_size(),))
    for layer in _layers(net):
        fully_shard(layer, mesh=mesh)
    # The root gathers embeddings and heads, and keeps them until the gradient is there: a tied head asks for both.
    fully_shard(net, mesh=mesh)
    # What tasks call in place of `forward`.
    register_fsdp_forward_method(net, "hidden")
    for module in net.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            # gloo knows no sum that divides on the way.
            module.set_force_sum_reduction_for_comms(True)
    return plain


def let_go(net: Any) -> None:
    """Forget the weights that a forward pass without a backward one has gathered."""
    for module in net.modules():
        if hasattr(module, "reshard"):
            module.reshard()


def whole(net: nn.Module, plain: Any) -> Any:
    """`plain` with the weights of the sharded `net`; the first rank alone gets values, where there is room for them."""
    is_first = dist.get_rank() == 0
    names = {id(parameter): name for name, parameter in plain.named_parameters()}
    gathered: dict[str, nn.Parameter] = {}
    for name, parameter in net.named_parameters():
        tensor = full(parameter.detach())
        if is_first:
            gathered[name] = nn.Parameter(tensor, requires_grad=parameter.requires_grad)
    if not is_first:
        return plain
    for module in plain.modules():
        for key, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[key] = gathered[names[id(parameter)]]
    for mine, theirs in zip(plain.buffers(), net.buffers(), strict=True):
        mine.copy_(theirs)
    return plain


def _layers(net: nn.Module) -> Iterator[nn.Module]:
    """The layers of every stack."""
    for module in net.modules():
        if isinstance(module, nn.ModuleList):
            yield from module


def _without_values(net: Any) -> Any:
    """A copy of `net` whose weights have shapes only, tied ones still tied."""
    memo: dict[int, Any] = {
        id(parameter): nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad) for parameter in net.parameters()
    }
    return copy.deepcopy(net, memo)
