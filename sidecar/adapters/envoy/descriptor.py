"""As much of KServe's gRPC service as Envoy needs to read a model's name."""

from google.protobuf import descriptor_pb2

SERVICE = "inference.GRPCInferenceService"
INFERENCES = ("ModelInfer", "ModelStreamInfer")
QUESTIONS = ("ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics")
"""Methods about one model besides inference."""


def field_names(method: str) -> tuple[str, str]:
    """What model and version are called in the method's request."""
    return ("model_name", "model_version") if method in INFERENCES else ("name", "version")


def descriptor_set() -> bytes:
    """A serialized FileDescriptorSet; fields that it does not know are skipped by Envoy."""
    files = descriptor_pb2.FileDescriptorSet()
    file = files.file.add(name="inference.proto", package="inference", syntax="proto3")
    file.message_type.add(name="Answer")
    service = file.service.add(name="GRPCInferenceService")
    for method in (*INFERENCES, *QUESTIONS):
        request = file.message_type.add(name=f"{method}Request")
        for number, name in enumerate(field_names(method), start=1):
            request.field.add(
                name=name,
                number=number,
                type=descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
                label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
            )
        streams = method == "ModelStreamInfer"
        service.method.add(
            name=method,
            input_type=f".inference.{request.name}",
            output_type=".inference.Answer",
            client_streaming=streams,
            server_streaming=streams,
        )
    return files.SerializeToString()
