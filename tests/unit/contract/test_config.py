from tritonclient.grpc import model_config_pb2

from contract.config import KIND_CPU


def test_the_kind_of_cpu_instances_is_that_of_tritons_schema() -> None:
    assert model_config_pb2.ModelInstanceGroup.KIND_CPU == KIND_CPU
