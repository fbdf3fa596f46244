"""Is this protobuf a model: versions, tensors that hold what they claim, wiring, operators."""

import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

import onnx
import onnx_ir as ir
from google.protobuf.message import Message

from edgepack.base.errors import ModelError
from edgepack.graph.limits import check_size, graphs, nodes, subgraphs

_RUNTIME_DOMAINS = ("com.microsoft",)
_OWN_DOMAINS = ("", "ai.onnx")
_TYPES = {kind.value for kind in ir.DataType} - {ir.DataType.UNDEFINED.value}
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""What steers terminals and no manifest may hold."""
_COMPLEX = (onnx.TensorProto.COMPLEX64, onnx.TensorProto.COMPLEX128)


def check_versions(model: onnx.ModelProto) -> None:
    """Refuse a model from a newer world than the installed onnx package knows.

    Raises:
        ModelError: The IR version or an opset is unknown, missing or nonsense.
    """
    if not model.graph.output or model.ir_version < 1:
        raise ModelError("E-MODEL-CORRUPT", "the file holds no graph with outputs")
    if model.ir_version > onnx.IR_VERSION:
        raise ModelError(
            "E-IR",
            f"the model has IR version {model.ir_version}, this onnx knows up to {onnx.IR_VERSION}",
            hint="export it with an older IR version, or upgrade the onnx package",
        )
    newest = onnx.defs.onnx_opset_version()
    for entry in model.opset_import:
        if entry.domain in _OWN_DOMAINS and not 1 <= entry.version <= newest:
            raise ModelError(
                "E-OPSET",
                f"the model asks for opset {entry.version}, this onnx knows 1 to {newest}",
                hint="export it with opset 18",
            )


def check_interface(model: onnx.ModelProto) -> None:
    """Refuse what no sample can be: maps, sequences, inputs without type, with no elements, twice.

    Raises:
        ModelError: Names the input or output.
    """
    weights = _weights(model.graph)
    inputs = [value for value in model.graph.input if value.name not in weights]
    for role, values in (("input", inputs), ("output", model.graph.output)):
        seen: set[str] = set()
        for value in values:
            if not value.name or value.name in seen:
                fault = "listed twice" if value.name else "without a name"
                raise ModelError(
                    "E-INTERFACE", f"{role} {value.name!r} is {fault}", hint="export it again"
                )
            seen.add(value.name)
            _check_kind(value)
    for value in inputs:
        _check_input(value)


def _check_kind(value: onnx.ValueInfoProto) -> None:
    kind = value.type.WhichOneof("value")
    if kind not in (None, "tensor_type"):
        raise ModelError(
            "E-INTERFACE",
            f"{value.name!r} is a {kind.removesuffix('_type')}, not a tensor",
            hint="export the classifier without ZipMap (zipmap=False in skl2onnx)",
        )


def _check_input(value: onnx.ValueInfoProto) -> None:
    tensor = value.type.tensor_type
    if tensor.elem_type not in _TYPES:
        raise ModelError(
            "E-INTERFACE", f"input {value.name!r} has no type", hint="export the model again"
        )
    for dim in tensor.shape.dim:
        if dim.WhichOneof("value") == "dim_value" and dim.dim_value < 1:
            raise ModelError(
                "E-INTERFACE",
                f"input {value.name!r} declares a dimension of {dim.dim_value}",
                hint="a dimension that varies has a name, such as 'batch', and no number",
            )


def check_names(model: onnx.ModelProto) -> None:
    """Refuse tensors, and dimensions of the interface, whose names have control characters.

    Raises:
        ModelError: Shows the name.
    """
    ends = (*model.graph.input, *model.graph.output)
    dims = (dim for value in ends for dim in value.type.tensor_type.shape.dim)
    named = [value.name for value in ends] + [dim.dim_param for dim in dims]
    for graph in graphs(model):
        named += _weights(graph)
    for node in nodes(model):
        named += node.output
    if odd := next(filter(CONTROL.search, named), None):
        raise ModelError(
            "E-NAME",
            f"the name {odd[:80]!r} has control characters",
            hint="rename it where the model is exported",
        )
    if any(not name for graph in graphs(model) for name in _weights(graph)):
        raise ModelError("E-GRAPH", "an initializer has no name", hint="export the model again")


def check_text(message: Message) -> None:
    """Refuse names that are not UTF-8: protobuf hands them over as bytes.

    Raises:
        ModelError: Shows the bytes.
    """
    for field, value in message.ListFields():
        children = [value] if isinstance(value, str | bytes | Message) else value
        if field.message_type is not None:
            for child in children:
                check_text(child)
        elif field.type == field.TYPE_STRING:
            for text in children:
                if isinstance(text, bytes):
                    raise ModelError("E-MODEL-CORRUPT", f"{field.name} {text[:32]!r} is not text")


def opset(model: onnx.ModelProto) -> int:
    """Return the version of the default operator set, 0 where the model names none."""
    return max((e.version for e in model.opset_import if e.domain in _OWN_DOMAINS), default=0)


def tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Walk every dense tensor: initializers and attributes, parts of sparse tensors included."""
    for graph in graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                if sparse.dims:
                    yield from (sparse.values, sparse.indices)


def check_tensor(tensor: onnx.TensorProto) -> int:
    """Return the bytes that a tensor takes; inline data must be exactly that long.

    Raises:
        ModelError: Its type is unknown, or it holds less or more than its dimensions say.
        SafetyError: It is larger than any tensor may be.
    """
    if tensor.data_type not in _TYPES:
        raise ModelError("E-MODEL-CORRUPT", f"tensor {tensor.name!r} has no known type")
    text = tensor.data_type == onnx.TensorProto.STRING
    bits = 8 if text else ir.DataType(tensor.data_type).bitwidth
    count = check_size(tensor.name, tensor.dims, bits)
    nbytes = (count * bits + 7) // 8
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return nbytes
    held, expected = len(tensor.raw_data), nbytes
    if not tensor.HasField("raw_data") or text:
        held = len(getattr(tensor, onnx.helper.tensor_dtype_to_field(tensor.data_type)))
        expected = nbytes if bits < 8 else count * (2 if tensor.data_type in _COMPLEX else 1)
    if held != expected:
        shape = "x".join(map(str, tensor.dims))
        raise ModelError(
            "E-MODEL-CORRUPT",
            f"tensor {tensor.name!r} claims {shape or 'one'} {ir.DataType(tensor.data_type).name} "
            f"and holds {held} of {expected}",
            hint="the file is damaged or was edited; get it again",
        )
    return nbytes


def check_operators(model: onnx.ModelProto) -> None:
    """Refuse operators that neither ONNX nor ONNX Runtime defines, or with too few inputs.

    Raises:
        ModelError: Lists the unknown ones with their domains, or names the first with an input
            missing.
    """
    versions = {entry.domain: entry.version for entry in model.opset_import}
    local = {(function.domain, function.name) for function in model.functions}
    unknown = set()
    for node in nodes(model):
        domain = "" if node.domain in _OWN_DOMAINS else node.domain
        if domain in _RUNTIME_DOMAINS or (node.domain, node.op_type) in local:
            continue
        version = opset(model) if domain == "" else versions.get(domain, 0)
        schema = _schema(node.op_type, domain, version)
        if schema is None:
            unknown.add(f"{node.op_type} ({domain or 'ai.onnx'} {version})")
        else:
            _check_inputs(node, schema)
    if unknown:
        raise ModelError(
            "E-OP-UNKNOWN",
            f"the model uses operators unknown to ONNX: {', '.join(sorted(unknown)[:8])}",
            hint="export without custom operators, and not after a runtime optimized it",
        )


def _schema(op_type: str, domain: str, version: int) -> onnx.defs.OpSchema | None:
    if not onnx.defs.has(op_type, domain):
        return None
    try:
        return onnx.defs.get_schema(op_type, version, domain)
    except onnx.defs.SchemaError:
        return None


def _check_inputs(node: onnx.NodeProto, schema: onnx.defs.OpSchema) -> None:
    """Refuse an empty name, which means "left out", where the operator needs the input."""
    single = onnx.defs.OpSchema.FormalParameterOption.Single
    given = [*node.input, *[""] * (schema.min_input - len(node.input))]
    for formal, name in zip(schema.inputs, given, strict=False):
        if formal.option == single and not name:
            raise ModelError(
                "E-GRAPH",
                f"node {node.name or node.op_type!r} lacks its input {formal.name!r}",
                hint="the graph is incomplete",
            )


def check_wiring(graph: onnx.GraphProto, scopes: tuple[set[str], ...] = ()) -> None:
    """Refuse tensors that nobody makes, that two nodes make, or that depend on themselves.

    Args:
        graph: The main graph, or a function's body seen as one.
        scopes: Names visible from the graphs around it.

    Raises:
        ModelError: Names the tensor.
    """
    maker: dict[str, int] = {}
    given = _given(graph)
    for index, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if name in maker or name in given:
                raise ModelError("E-GRAPH", f"tensor {name!r} is made twice")
            maker[name] = index
    visible = (*scopes, given | maker.keys())
    for node in graph.node:
        for name in filter(None, node.input):
            _require(name, visible, f"input of node {node.name or node.op_type!r}")
        for inner in subgraphs(node):
            check_wiring(inner, visible)
    for output in graph.output:
        _require(output.name, visible, "output of the graph")
    _check_order(graph, maker)


def _given(graph: onnx.GraphProto) -> set[str]:
    return {value.name for value in graph.input} | _weights(graph)


def _weights(graph: onnx.GraphProto) -> set[str]:
    sparse = {tensor.values.name for tensor in graph.sparse_initializer}
    return {tensor.name for tensor in graph.initializer} | sparse


def _require(name: str, visible: tuple[set[str], ...], role: str) -> None:
    if not any(name in scope for scope in visible):
        raise ModelError(
            "E-GRAPH", f"tensor {name!r}, {role}, is never made", hint="the graph is incomplete"
        )


def _check_order(graph: onnx.GraphProto, maker: dict[str, int]) -> None:
    needs = {
        index: {maker[name] for name in _reads(node) if name in maker}
        for index, node in enumerate(graph.node)
    }
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        node = graph.node[error.args[1][0]]
        raise ModelError(
            "E-GRAPH", f"node {node.name or node.op_type!r} is part of a cycle"
        ) from error


def _reads(node: onnx.NodeProto) -> set[str]:
    """Return the tensors that a node needs, those captured by its subgraphs included."""
    found = set(filter(None, node.input))
    for graph in subgraphs(node):
        inner = {name for child in graph.node for name in _reads(child)}
        made = {name for child in graph.node for name in child.output}
        found |= (inner | {output.name for output in graph.output}) - made - _given(graph)
    return found
