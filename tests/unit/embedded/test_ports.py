import socket

from embedded.ports import accepts, free_ports, taken_ports


def test_ports_differ_and_can_be_bound() -> None:
    ports = free_ports(20)

    assert len(set(ports)) == 20
    # Other processes may have taken some of them meanwhile.
    assert len(taken_ports(ports)) < 10


def test_a_port_with_a_listener_is_taken_and_accepts() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]

        assert taken_ports([port]) == [port]
        assert accepts(port)

    assert taken_ports([port]) == []
    assert not accepts(port)


def test_a_port_that_is_only_bound_is_taken_and_does_not_accept() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]

        assert taken_ports([port]) == [port]
        assert not accepts(port)
