"""A shallower network from the layers of a deeper one: where a student begins (Sanh et al. 2019, DistilBERT)."""

import copy
from typing import Any

from torch import nn

from diptych.errors import ModelError
from diptych.messages import _
from diptych.models.transformer import Layer, Network


def keep_layers(net: Network, count: int) -> Network:
    """`net` with `count` of its layers, evenly spread with the last among them; everything else is its own copy.

    Where local and global layers alternate, each place of the shallower stack takes a layer of its own kind.

    Raises:
        ModelError E301: it has fewer layers.
    """
    depth = net.config.num_layers
    if not 1 <= count <= depth:
        raise ModelError("E301", field="layers", value=count, rule=_("from 1 to {number}").format(number=depth))
    if net.config.is_encoder_decoder:
        raise ModelError("E301", field="num_decoder_layers", value=net.config.num_decoder_layers, rule=_("0: a stack alone"))
    small = copy.deepcopy(net)
    body: Any = small.body
    whole: Any = net.body
    chosen = [_nearest_alike(net, place, count) for place in range(count)]
    body.layers = nn.ModuleList(copy.deepcopy(whole.layers[number]) for number in chosen)
    for place, layer in enumerate(body.layers):
        assert isinstance(layer, Layer)
        layer.attention.layer = place
    small.set_config(num_layers=count)
    body.config = small.config
    return small


def _nearest_alike(net: Network, place: int, count: int) -> int:
    """The layer that stands at `place` of `count`: the nearest to an even spread that has the arithmetic of that place."""
    config = net.config
    wanted = (place + 1) * config.num_layers / count - 1
    if config.skips_first_norm and place == 0:
        return 0
    rest = range(1 if config.skips_first_norm else 0, config.num_layers)
    alike = [number for number in rest if config.is_local(number) == config.is_local(place)]
    return min(alike or rest, key=lambda number: (abs(number - wanted), number))
