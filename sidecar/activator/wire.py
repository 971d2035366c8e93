"""Model and version in a request of Triton's gRPC protocol, found without parsing the tensors.

In every request that names a model the name is field 1 and the version field 2. The wire format
lets them stand at any place, and more than once; the last one counts.
"""

# A request has a few fields for each of its tensors; to walk through more would hold up the loop.
MAX_FIELDS = 2**16
# Field 1 and field 2, and a value of stated length follows.
_NAME_TAG, _VERSION_TAG = 0b1_010, 0b10_010
_MORE = 0x80
_MAX_VARINT_BITS = 64


def names(message: bytes) -> tuple[str, str]:
    """Model and version; empty when the message has none.

    Raises:
        ValueError: these bytes are no message, or one with more than `MAX_FIELDS` fields.
    """
    found = {_NAME_TAG: b"", _VERSION_TAG: b""}
    at = 0
    for _ in range(MAX_FIELDS):
        if at == len(message):
            return found[_NAME_TAG].decode(), found[_VERSION_TAG].decode()
        tag, at = _varint(message, at)
        begin, at = _value(message, tag & 7, at)
        if at > len(message) or tag >> 3 == 0:
            raise ValueError(f"the request is no message of Triton's: broken before byte {at}")
        if tag in found:
            found[tag] = message[begin:at]
    raise ValueError(f"the request has more than {MAX_FIELDS} fields")


def _value(message: bytes, wire_type: int, at: int) -> tuple[int, int]:
    """Where the value begins and ends."""
    match wire_type:
        case 0:
            return at, _varint(message, at)[1]
        case 1:
            return at, at + 8
        case 2:
            length, begin = _varint(message, at)
            return begin, begin + length
        case 5:
            return at, at + 4
        case _:
            raise ValueError(f"the request is no message of Triton's: wire type {wire_type} in it")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The number, and where what follows it begins."""
    number = 0
    for shift in range(0, _MAX_VARINT_BITS, 7):
        if at == len(message):
            break
        byte = message[at]
        at += 1
        number |= (byte & ~_MORE) << shift
        if byte < _MORE:
            return number, at
    raise ValueError(f"the request is no message of Triton's: a number is cut off at byte {at}")
