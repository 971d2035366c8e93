"""Errors of the contract.

ContractError
├── InvalidVersion      a version is not a positive integer without leading zeros
├── UnsupportedDatatype a tensor's datatype has no numpy counterpart
├── InvalidArtifact     a file in the store is missing, unreadable or says something impossible
│   └── ArtifactUnreadable  the system does not let it be read now: nothing is known of what it says
└── InvalidRequest      bytes are no request for inference, or its tensors are not in it
"""


class ContractError(Exception):
    """Root of this package's errors."""


class InvalidVersion(ContractError):
    pass


class UnsupportedDatatype(ContractError):
    pass


class InvalidArtifact(ContractError):
    pass


class ArtifactUnreadable(InvalidArtifact):
    pass


class InvalidRequest(ContractError):
    pass
