"""What was asked for and how far it is."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from sidecar.api.paging import Paged
from sidecar.api.problems import problems
from sidecar.api.schemas import OperationBody, OperationList
from sidecar.core.fleet import Operation
from sidecar.core.operations import awaited
from sidecar.errors import UnknownObject
from sidecar.runtime.loop import Loop
from sidecar.runtime.records import Records


def operation_routes(loop: Loop, records: Records) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["operations"])

    def body(operation: Operation) -> OperationBody:
        seen = loop.snapshot
        waits = awaited(operation, seen, loop.plan.blocked) if seen else None
        return OperationBody.of(operation, waits_for=waits)

    @router.get("/operations", summary="List operations", responses=problems("invalid_page_token"))
    async def list_operations(
        page: Paged,
        model: str | None = None,
        done: Annotated[bool | None, Query(description="Ended, or still going on.")] = None,
    ) -> OperationList:
        """Newest first."""
        found, following = page.cut(
            (
                operation
                for operation in await records.all_operations()
                if model in (None, operation.model)
                and done in (None, operation.finished_at_s is not None)
            ),
            _age,
            newest_first=True,
        )
        return OperationList(
            operations=[body(operation) for operation in found], next_page_token=following
        )

    @router.get(
        "/operations/{operation_id}",
        summary="Look at an operation",
        responses=problems("unknown_operation"),
    )
    async def get_operation(operation_id: str) -> OperationBody:
        """A long action, and what it waits for; ended ones stay."""
        operation = await records.operation(operation_id)
        if operation is None:
            raise UnknownObject("unknown_operation", f"no operation {operation_id!r}")
        return body(operation)

    return router


def accepted(operation: Operation, response: Response) -> OperationBody:
    """The answer to a request for something long, and where to look how far it is."""
    body = OperationBody.of(operation)
    response.headers["Location"] = body.location
    response.headers["Retry-After"] = "1"
    return body


def _age(operation: Operation) -> str:
    return f"{operation.created_at_s:020.6f} {operation.id}"
