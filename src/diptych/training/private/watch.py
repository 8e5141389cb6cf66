"""Passes through a network of which it is written down what each layer is given and what comes back to it, row by row and unit by unit.

Everything in a flat row belongs to somebody: a token to its text, a text to its example, an example to the unit of privacy. Layers do
not know that, so hooks carry it: a stack of layers is told by the texts it was given, a head by where its input was taken from. That is
read from the graph that autograd keeps of the pass (an index into the last hidden vectors), never guessed from a shape: a batch of as
many texts as they have tokens would be taken for another.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from diptych.errors import TrainingError
from diptych.kernels.chunked_loss import replaced
from diptych.kernels.ghost import Rows
from diptych.messages import _
from diptych.models.heads import LanguageHead, Pooler, TextHead, TokenHead
from diptych.models.layers import Embedding
from diptych.models.positions import RelativeBias
from diptych.models.recurrent import Recurrent
from diptych.models.transformer import Transformer
from diptych.packed import Packed
from diptych.surgery.low_rank import LowRank
from diptych.training.private.language import LanguageRecord
from diptych.training.private.records import LinearRecord, NormRecord, Record, TableRecord

# Shapes: N tokens, M places, T texts, U units.


class Watch:
    """A pass forward and back, watched.

    Args:
        unit_T: int64, which unit each text of the batch belongs to.

    Attributes:
        records: what each layer with something to learn has kept, by its name.
    """

    def __init__(self, net: Any, unit_T: Tensor, num_units: int) -> None:
        self.net, self.unit_T, self.num_units = net, unit_T, num_units
        self.records: dict[str, Record] = {}
        self._scopes: list[Rows] = []
        self._texts: Packed = Packed(torch.empty(0, dtype=torch.int64), ())
        self._hidden: Tensor | None = None
        self._met: list[tuple[Tensor, Rows]] = []
        """What language heads made of places before their last matrix, and whose places these are."""
        self._dropped: dict[str, Tensor] = {}
        self._learns = {parameter: name for name, parameter in net.named_parameters() if parameter.requires_grad}
        self._names = {module: name for name, module in net.named_modules()}
        self._block = 0
        """How many blocks of texts have asked for a bias by distance in the present stack."""

    @contextmanager
    def on(self) -> Iterator["Watch"]:
        """Inside of this passes are watched; no parameter gets a gradient by autograd, which saves a third of the way back."""
        with ExitStack() as stack:
            for parameter in self._learns:
                parameter.requires_grad_(False)
                stack.callback(parameter.requires_grad_, True)
            for name, module in self.net.named_modules():
                for hook in self._hooks(name, module):
                    stack.callback(hook.remove)
            for module in self.net.modules():
                if isinstance(module, Embedding):
                    stack.callback(setattr, module, "looks_up_types", module.looks_up_types)
                    module.looks_up_types = True
            stack.enter_context(replaced(self._language))
            yield self
            self._hidden, self._met, self._dropped = None, [], {}

    def squares(self) -> Tensor:
        """[U], the squared length of each unit's gradient over all layers."""
        self.records = {name: record for name, record in self.records.items() if not record.is_empty}
        parts = [record.squares() for record in self.records.values()]
        wide = torch.promote_types(parts[0].dtype, torch.float32) if parts else torch.float32
        found_U = torch.zeros(self.num_units, dtype=wide, device=self.unit_T.device)
        for part in parts:
            found_U += part
        return found_U

    def add(self, weight_U: Tensor) -> None:
        """Leave Σ c_u g_u in the parameters' gradients, layer by layer; what was kept is let go."""
        while self.records:
            _name, record = self.records.popitem()
            record.add(weight_U)

    def _hooks(self, name: str, module: nn.Module) -> Iterator[Any]:
        """First those that say whose rows the layers inside of a module are given, then those that look at what they do."""
        if isinstance(module, Transformer | Recurrent):
            yield module.register_forward_pre_hook(self._enter_stack)
            yield module.register_forward_hook(self._leave)
        if module is self.net.body:
            yield module.register_forward_hook(self._keep_hidden)
        if isinstance(module, RelativeBias):
            yield module.register_forward_pre_hook(self._enter_bias)
            yield module.register_forward_hook(self._leave)
        if isinstance(module, TextHead | Pooler):
            yield module.register_forward_pre_hook(self._enter_texts)
            yield module.register_forward_hook(self._leave)
        if isinstance(module, TokenHead):
            yield module.register_forward_pre_hook(self._enter_places)
            yield module.register_forward_hook(self._leave)
        if isinstance(module, LanguageHead):
            yield module.transform.register_forward_pre_hook(self._enter_places)
        if isinstance(module, LowRank):
            yield module.dropout.register_forward_hook(partial(self._keep_dropped, name))
            if any(parameter in self._learns for parameter in (*module.a_RI, *module.b_OR)):
                yield module.register_forward_hook(partial(self._look, name))
        elif not isinstance(module, LanguageHead) and any(parameter in self._learns for parameter in module.parameters(recurse=False)):
            yield module.register_forward_hook(partial(self._look, name))
        if isinstance(module, LanguageHead):
            yield module.transform.register_forward_hook(self._meet)

    def _enter_stack(self, _module: nn.Module, args: tuple[Any, ...]) -> None:
        texts: Packed = args[0]
        if texts.num_texts != len(self.unit_T):
            raise TrainingError("E553", module=_("the texts of a pass"))
        self._texts, self._block = texts, 0
        self._scopes.append(Rows(self.unit_T[texts.text_N], self.num_units))

    def _enter_bias(self, _module: nn.Module, args: tuple[Any, ...]) -> tuple[Tensor]:
        """Texts of a block share their distances; here each looks its own up."""
        (distance_SQK,) = args
        block = self._texts.blocks[self._block]
        self._block += 1
        unit_S = self.unit_T[list(block.texts_S)]
        self._scopes.append(Rows(unit_S.repeat_interleave(distance_SQK.shape[-2] * distance_SQK.shape[-1]), self.num_units))
        return (distance_SQK.expand(block.size, -1, -1),)

    def _enter_texts(self, _module: nn.Module, args: tuple[Any, ...]) -> None:
        if args[0] is not self._hidden:
            raise TrainingError("E553", module=self._names[_module])
        self._scopes.append(Rows(self.unit_T, self.num_units))

    def _enter_places(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        rows = self._rows_of(args[0])
        if rows is None:
            raise TrainingError("E553", module=self._names[module])
        self._scopes.append(rows)

    def _leave(self, _module: nn.Module, _args: Any, _output: Any) -> None:
        self._scopes.pop()

    def _meet(self, _module: nn.Module, _args: Any, output: Tensor) -> None:
        self._met.append((output, self._scopes.pop()))

    def _keep_hidden(self, _module: nn.Module, _args: Any, output: Tensor) -> None:
        self._hidden = _differentiable(output)
        self._token_rows = Rows(self.unit_T[self._texts.text_N], self.num_units)

    def _keep_dropped(self, name: str, _module: nn.Module, _args: Any, output: Tensor) -> None:
        self._dropped[name] = output.detach()

    def _rows_of(self, x: Tensor) -> Rows | None:
        """Whose the rows of a head's input are: all the last hidden vectors, or those at some places."""
        if x is self._hidden:
            return self._token_rows
        made_by: Any = x.grad_fn
        if self._hidden is None or made_by is None or made_by.name() != "IndexBackward0":
            return None
        if made_by.next_functions[0][0] is not _node(self._hidden) or len(made_by._saved_indices) != 1:
            return None
        return Rows(self._token_rows.unit_N[made_by._saved_indices[0]], self.num_units)

    def _look(self, name: str, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        """Remember what went in until its gradient comes back."""
        rows = self._scopes[-1] if self._scopes else None
        if name.endswith(".cross.key_value"):
            assert self._texts.source is not None
            rows = Rows(self.unit_T[self._texts.source.text_N], self.num_units)
        x: Tensor = args[0]
        is_norm = isinstance(module, nn.LayerNorm | nn.RMSNorm)
        num_rows = x.shape[0] if is_norm else x.numel() if isinstance(module, nn.Embedding) else x[..., 0].numel()
        if rows is None or num_rows != len(rows):
            raise TrainingError("E553", module=name)
        _differentiable(output)
        if isinstance(module, LowRank):
            output.register_hook(partial(self._take_low_rank, name, module, self._dropped.pop(name), rows))
            return
        if name not in self.records:
            self.records[name] = self._record(module)
        output.register_hook(partial(_take, self.records[name], x.detach(), rows))

    def _record(self, module: Any) -> Any:
        weight, bias = (self._learning(module, which) for which in ("weight", "bias"))
        if isinstance(module, nn.Embedding):
            return TableRecord(module.get_parameter("weight"))
        if isinstance(module, nn.LayerNorm | nn.RMSNorm):
            return NormRecord(module, weight, bias)
        return LinearRecord(weight, bias)

    def _learning(self, module: nn.Module, which: str) -> Any:
        parameter = getattr(module, which, None)
        return parameter if parameter in self._learns else None

    def _take_low_rank(self, name: str, module: LowRank, x: Tensor, rows: Rows, g: Tensor) -> None:
        """y = … + s (x aᵀ) bᵀ is two matrices, one behind the other."""
        x = x.to(g.dtype)
        for number, (part, a_RI, b_OR, scale) in enumerate(zip(module.parts, module.a_RI, module.b_OR, module.scales, strict=True)):
            g_NO = g[..., part.start : part.stop] * scale
            for which, matrix, given, back in (
                ("a", a_RI, x, g_NO @ b_OR.to(g.dtype)),
                ("b", b_OR, x @ a_RI.to(g.dtype).T, g_NO),
            ):
                if matrix in self._learns:
                    assert isinstance(matrix, nn.Parameter)
                    record = self.records.setdefault(f"{name}.{which}.{number}", LinearRecord(matrix, None))
                    _take(record, given, rows, back)

    def _language(self, features_MD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, gold_M: Tensor, smoothing: float) -> Tensor:
        """The loss of a language head, in place of the kernel that keeps nothing by unit."""
        head = self.net.heads["lm"]
        rows = next((rows for made, rows in self._met if _is_made_of(features_MD, made)), None)
        if rows is None or weight_VD is not head.weight_VD:
            raise TrainingError("E553", module="heads.lm")
        weight, bias = (parameter if parameter in self._learns else None for parameter in (weight_VD, bias_V))
        record = self.records.get("heads.lm")
        if record is None:
            record = LanguageRecord(weight, bias, self._tied(weight))  # type: ignore[arg-type]
            if weight is not None or bias is not None:
                self.records["heads.lm"] = record
        assert isinstance(record, LanguageRecord)
        return record.nats(features_MD, weight_VD, bias_V, gold_M, smoothing, rows)

    def _tied(self, weight: Tensor | None) -> TableRecord | None:
        """What an embedding keeps of the same matrix."""
        found = (record for record in self.records.values() if isinstance(record, TableRecord) and record.weight is weight)
        return next(found, None) if weight is not None else None


def _take(record: Any, x: Tensor, rows: Rows, g: Tensor) -> None:
    record.take(x, g, rows)


def _differentiable(output: Tensor) -> Tensor:
    """A layer whose input does not learn and whose weights get no gradient here: it is where the way back ends."""
    return output if output.requires_grad else output.requires_grad_()


def _node(x: Tensor) -> Any:
    return torch.autograd.graph.get_gradient_edge(x).node


def _is_made_of(features_MD: Tensor, made: Tensor) -> bool:
    """Whether features are what was made of some places, as it is or scaled."""
    if features_MD is made or not (features_MD.requires_grad and made.requires_grad):
        return features_MD is made
    node = _node(features_MD)
    return node is _node(made) or (node.name() == "MulBackward0" and node.next_functions[0][0] is _node(made))
