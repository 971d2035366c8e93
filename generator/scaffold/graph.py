"""The tensors of ONNX files, for workers."""

from pathlib import Path

import numpy as np
import onnx

from contract.dtypes import Datatype, datatype_of
from contract.errors import UnsupportedDatatype
from generator import worker
from generator.samples.graph import load_graph, table_rows
from generator.scaffold.found import Graph, GraphsJob, GraphsReport, Tensor


def read_graphs(job: GraphsJob) -> GraphsReport:
    """The weights stay where they are."""
    return GraphsReport(graphs=[_read(path) for path in job.files])


def _read(path: Path) -> Graph | str:
    try:
        model = load_graph(path)
        rows = table_rows(model, path.parent)
    # The parser's errors have no common root below Exception.
    except Exception as error:  # noqa: BLE001
        return f"{path} cannot be read as an ONNX model: {error}"
    given = {tensor.name for tensor in model.graph.initializer}
    return Graph(
        inputs=[_tensor(item) for item in model.graph.input if item.name not in given],
        outputs=[_tensor(item) for item in model.graph.output],
        rows=rows,
    )


def _tensor(item: onnx.ValueInfoProto) -> Tensor:
    kind = item.type.tensor_type
    return Tensor(
        name=item.name,
        datatype=_datatype(kind.elem_type),
        shape=[dim.dim_value or dim.dim_param or None for dim in kind.shape.dim],
    )


def _datatype(number: int) -> Datatype | None:
    try:
        return datatype_of(np.empty(0, onnx.helper.tensor_dtype_to_np_dtype(number)))
    except UnsupportedDatatype:
        return None


if __name__ == "__main__":
    worker.main(read_graphs, GraphsJob)
