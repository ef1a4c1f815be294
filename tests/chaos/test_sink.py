"""The LRS that the chaos run forwards to, where a mistake of its own would be taken for one of the bridge."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from tests.chaos.sink import Lrs, Server, handler
from tests.ports import free_port


def test_half_a_request_of_a_killed_worker_is_none(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Server(("127.0.0.1", free_port()), handler(Lrs(log, seed=1, silences=0))) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        with socket.create_connection(server.server_address[:2], timeout=10) as sender:
            sender.sendall(b"POST /xapi/statements HTTP/1.1\r\nContent-Length: 10\r\n\r\n[")
            sender.shutdown(socket.SHUT_WR)
            assert sender.recv(1) == b""
        server.shutdown()
    assert log.read_bytes() == b""
