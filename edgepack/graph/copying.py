"""A copy of a model that shares nothing with the original."""

import onnx_ir as ir


def private_copy(model: ir.Model) -> ir.Model:
    """Copy a model, weights included.

    ``ir.Model.clone()`` shares weight tensors, so that writing into ``tensor.numpy()`` would
    change the caller's model.
    """
    return ir.from_proto(ir.to_proto(model))
