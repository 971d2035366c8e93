"""What an error in some work says of the model that the work was for."""

from contract.errors import ArtifactUnreadable, ContractError
from sidecar.errors import ServerError, ServerLost, StageUnusable, StateUnavailable, Unproven
from sidecar.runtime.board import Board, Pair

EXPECTED = (ServerError, StageUnusable, StateUnavailable, ContractError, Unproven, OSError)
_OF_THE_DISK = (StageUnusable, StateUnavailable, ArtifactUnreadable)


def says_nothing(error: Exception) -> bool:
    """Whether it is tried again as if nothing was: a server was silent, or a disk in the way."""
    return isinstance(error, (ServerLost, *_OF_THE_DISK))


def blame(board: Board, pair: Pair, error: Exception, *, config: str) -> str:
    """Put the error on the board, where it is tried again ever more rarely; returns the reason.

    A server may be lost through a version; a disk and a bug of ours are never its fault.
    """
    is_bug = not isinstance(error, EXPECTED)
    reason = f"bug: {type(error).__name__}: {error}" if is_bug else str(error)
    board.fail(
        pair,
        reason=reason,
        lost=says_nothing(error),
        blameless=is_bug or isinstance(error, _OF_THE_DISK),
        config=config,
    )
    return reason
