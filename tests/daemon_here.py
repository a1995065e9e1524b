"""A daemon inside the test's own process, and clients of it that may also send what nobody should."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgpack
import trio

from tests.place import Place
from tests.scripted import living, made_state_dir
from threepio_client.paths import StateDir
from threepio_client.protocol import VERSION, Ask, Connection, Hello, Message, Reply, Role, Welcome
from threepio_client.settings import OFF, DaemonSettings
from threepiod.daemon import Daemon
from threepiod.lifecycle import open_store
from threepiod.listener import listen
from threepiod.service import Service
from threepiod.store import Store


class Client:
    """One end of a connection, which may also send what nobody should."""

    def __init__(self, stream: trio.SocketStream, role: Role) -> None:
        self.stream = stream
        self._protocol = Connection(role)
        self._inbox: list[Message] = []

    async def say(self, message: Message) -> None:
        await self.stream.send_all(self._protocol.send(message))

    async def say_bytes(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def hear(self) -> Message | None:
        """Return the next message, or None at the end of the stream."""
        while not self._inbox:
            data = await self.stream.receive_some(65536)
            if not data:
                return None
            self._inbox.extend(self._protocol.receive(data))
        return self._inbox.pop(0)

    async def ask(self, name: str, **params: Any) -> Any:
        """Return the whole answer to a question, errors included."""
        await self.say(Ask(id=7, name=name, params=params))
        data = b""
        while True:
            reply = await self.hear()
            assert isinstance(reply, Reply), reply
            assert reply.id == 7
            data += reply.data
            if reply.last:
                return msgpack.unpackb(data)


KEEP_ALL: Final = DaemonSettings(keep_s=math.inf, idle_exit_s=math.inf, reports=OFF)
"""Nothing is removed, the daemon stays, and no report is written."""


class Served:
    """A daemon in this process."""

    def __init__(self, place: Place, store_type: type[Store], limits: DaemonSettings) -> None:
        self.place = place
        self.state_dir: StateDir = made_state_dir(place.state_dir.path)
        path, trouble = self.state_dir.store, ""
        self.store: Store
        if store_type is Store:
            self.store, trouble = open_store(path, lambda: None)
        else:
            self.store = store_type(path)
        self.daemon = Daemon(place.settings, self.store, trouble, limits, Service({}), lambda: True)
        self._clients: list[Client] = []

    async def connect(self, role: Role = Role.ADAPTER) -> Client:
        client = Client(await trio.open_unix_socket(str(self.place.settings.socket)), role)
        self._clients.append(client)
        return client

    async def close(self) -> None:
        for client in self._clients:
            await client.stream.aclose()
        self.store.close()

    def hello(self, run_id: str, *, producer: str = "producer", place: Path | None = None) -> Hello:
        run = {"run_id": run_id, "producer_id": producer, "process": living().to_payload()}
        return Hello(versions=[VERSION], role="adapter", run=run, place=str(place or self.state_dir.journal(run_id)))

    async def adapter(self, run_id: str) -> Client:
        """Return the welcomed adapter of a run."""
        client = await self.connect()
        await client.say(self.hello(run_id))
        assert isinstance(await client.hear(), Welcome)
        return client

    async def query(self) -> Client:
        client = await self.connect(Role.QUERY)
        await client.say(Hello(versions=[VERSION], role="query", run={}, place=""))
        assert isinstance(await client.hear(), Welcome)
        return client

    def last_error(self) -> str:
        error = self.daemon.self_status()["last_error"]
        return str(error["text"]) if error else ""


@asynccontextmanager
async def serving(
    place: Place, store_type: type[Store] = Store, limits: DaemonSettings = KEEP_ALL
) -> AsyncIterator[Served]:
    """Serve until the block ends; then stop as a daemon stops."""
    served = Served(place, store_type, limits)
    ready = trio.Event()
    with listen(place.settings.socket) as listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(served.daemon.serve, listener, ready.set)
            await ready.wait()
            yield served
            served.daemon.stop()
    await served.close()
