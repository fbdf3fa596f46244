"""Which operators the runtime has static integer kernels for, by what those kernels need."""

WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})
"""Multiply by a constant weight."""

JOINS = frozenset({"Add", "Concat"})
"""Integer kernels exist, but pay only where integers already arrive: a power spectrum's Add, or
one that adds an attention mask of -10000, must stay in float."""

POOLS = frozenset({"GlobalAveragePool", "AveragePool"})

CARRIERS = frozenset(
    {"MaxPool", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "DepthToSpace"}
)
"""Move or select values: their output keeps the input's scale and costs nothing."""

CLAMPS = frozenset({"Relu", "Clip"})
"""Absorbed by the range of the tensor they end in."""

INTEGER_OUTPUT = frozenset({"Conv"}) | JOINS | POOLS
"""Their integer kernels exist only with a quantized output; Gemm and MatMul may end in float."""

FREE = CARRIERS | {"Identity", "Shape", "Gather", "Constant", "Cast", "Slice", "Dropout"}
"""Nodes whose precision nobody asks about."""

ATTENTION = frozenset({"CPUExecutionProvider"})
"""Providers whose MultiHeadAttention adds a float mask to its scores, and was tried here."""
