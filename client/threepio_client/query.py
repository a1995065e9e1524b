"""Blocking query client: asks a running daemon. Used by the commands; nothing here runs in the tested process."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgpack

from threepio_client.errors import NoDaemon, NoPlace, NoSuchRun, Refused, RemoteProtocolError, ThreepioError
from threepio_client.link import peer_uid
from threepio_client.protocol import VERSION, Ask, Connection, Hello, Refuse, Reply, Role, Welcome
from threepio_client.settings import check_socket_path

ANSWER_TIMEOUT_S: Final = 10.0
"""A daemon that is alive answers within milliseconds; one that is stopped or stuck must not hang a command."""
ANSWER_LIMIT: Final = 64 * 1024 * 1024
"""Bytes of one answer."""

_ERRORS: Final[dict[str, type[ThreepioError]]] = {"no-such-run": NoSuchRun, "busy": NoDaemon, "no-place": NoPlace}


def unix_socket() -> socket.socket:
    """Return a new Unix stream socket.

    Raises:
        NoDaemon: a sandbox forbids it (EPERM, EACCES, EAFNOSUPPORT), or there are too many descriptors.
    """
    try:
        return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    except OSError as error:
        raise NoDaemon(f"no Unix socket can be made here ({error.strerror})") from error


class QueryClient:
    """A connection to the daemon for questions.

    Attributes:
        last_elapsed_ms: time that the daemon itself needed for the last answer.
        schema_version: of the last answer; 1 where the daemon does not say.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._protocol = Connection(Role.QUERY)
        self._last_id = 0
        self.last_elapsed_ms = 0.0
        self.schema_version = 1

    @classmethod
    def connect(cls, path: Path, timeout_s: float = ANSWER_TIMEOUT_S, *, state_dir: Path | None = None) -> Self:
        """Connect and greet.

        Args:
            path: the daemon's socket.
            timeout_s: seconds to wait for it, at each step.
            state_dir: refuse a daemon that keeps another state directory than this one.

        Raises:
            NoDaemon: nobody listens there, sockets are forbidden here, it is another user's or program's socket, or it does
                not answer in time.
            SettingsError: the path is too long.
            Refused: the daemon does not want this client.
        """
        check_socket_path(path)
        sock = unix_socket()
        sock.settimeout(timeout_s)
        try:
            sock.connect(str(path))
        except OSError as error:
            sock.close()
            why = error.strerror or str(error)
            raise NoDaemon(f"no daemon at {path} ({why}), start one with: threepiod start") from error
        try:
            if peer_uid(sock) != os.getuid():
                raise NoDaemon(f"the process that listens at {path} belongs to another user")
            client = cls(sock)
            client._greet(path, state_dir)
        except TimeoutError as error:
            sock.close()
            raise NoDaemon(f"threepiod at {path} does not answer within {timeout_s:g} s") from error
        except OSError as error:
            sock.close()
            raise NoDaemon(
                f"what listens at {path} closed the connection ({error.strerror}): is it threepiod?"
            ) from error
        except BaseException:
            sock.close()
            raise
        return client

    def ask(self, name: str, params: dict[str, Any] | None = None) -> Any:
        """Return the daemon's answer.

        Raises:
            NoDaemon: the connection ended or the answer did not come in time.
            NoSuchRun: the question names no run, or several.
            ThreepioError: the daemon cannot answer; the text says why.
        """
        self._last_id += 1
        data = bytearray()
        try:
            self._sock.sendall(self._protocol.send(Ask(id=self._last_id, name=name, params=params or {})))
            while True:
                message = self._next()
                if not isinstance(message, Reply) or message.id != self._last_id:
                    raise NoDaemon("the daemon answered something that was not asked")
                data += message.data
                if len(data) > ANSWER_LIMIT:
                    raise NoDaemon(f"the daemon's answer is over {ANSWER_LIMIT} bytes")
                if message.last:
                    break
        except OSError as error:
            raise NoDaemon(f"the daemon did not answer: {error.strerror or error}") from error
        answer = msgpack.unpackb(data, strict_map_key=False)
        if "error" in answer:
            raise _ERRORS.get(answer.get("code", ""), ThreepioError)(answer["error"])
        self.last_elapsed_ms = float(answer["elapsed_ms"])
        self.schema_version = int(answer.get("schema_version", 1))
        return answer["result"]

    def wait_longer(self, timeout_s: float) -> None:
        """Wait so many seconds for each answer from now on: what is asked takes its time."""
        self._sock.settimeout(timeout_s)

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _greet(self, path: Path, state_dir: Path | None) -> None:
        self._waiting: list[Any] = []
        place = "" if state_dir is None else str(state_dir)
        self._sock.sendall(self._protocol.send(Hello(versions=[VERSION], role=Role.QUERY.value, run={}, place=place)))
        try:
            answer = self._next()
        except RemoteProtocolError as error:
            raise NoDaemon(f"another program listens at {path}, not threepiod: {error.reason}") from error
        if not isinstance(answer, Welcome):
            raise NoDaemon(f"another program listens at {path}, not threepiod")

    def _next(self) -> Any:
        while not self._waiting:
            data = self._sock.recv(256 * 1024)
            if not data:
                raise NoDaemon("the daemon closed the connection")
            self._waiting.extend(self._protocol.receive(data))
        message = self._waiting.pop(0)
        if isinstance(message, Refuse):
            raise Refused(f"the daemon refused the connection: {message.reason} [{message.code}]")
        return message
