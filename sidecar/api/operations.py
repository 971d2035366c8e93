"""What was asked for and how far it is."""

from fastapi import APIRouter

from sidecar.api.problems import PROBLEM_RESPONSES
from sidecar.api.schemas import OperationBody, ReleaseBody
from sidecar.errors import UnknownObject
from sidecar.runtime.records import Records


def operation_routes(records: Records) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["operations"], responses=PROBLEM_RESPONSES)

    @router.get("/operations/{operation_id}")
    async def get_operation(operation_id: str) -> OperationBody:
        """A long action; ended ones stay."""
        operation = await records.operation(operation_id)
        if operation is None:
            raise UnknownObject("unknown_operation", f"no operation {operation_id!r}")
        return OperationBody.of(operation)

    @router.get("/releases/{release_id}")
    async def get_release(release_id: str) -> ReleaseBody:
        """A release with every step and its evidence; ended ones stay."""
        release = await records.release(release_id)
        if release is None:
            raise UnknownObject("unknown_release", f"no release {release_id!r}")
        return ReleaseBody.of(release)

    return router
