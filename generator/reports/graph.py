"""What an ONNX graph says about the values it takes."""

from generator.reports.message import Message


class GraphFacts(Message):
    """`table_rows`: how many ids are valid, from 0 on, by the input that holds them."""

    table_rows: dict[str, int]
    has_convolutions: bool
