"""A network made longer: every byte comes so much later, as many at once as were sent at once.

python -m benchmarks.relay FROM_PORT TO_PORT ROUND_TRIP_MS, both on 127.0.0.1
"""

import asyncio
import sys
from collections import deque

_IN_FLIGHT = 64 << 20  # a direction; more is not read until some has arrived


class _End(asyncio.Protocol):
    """What it hears is said by the other end, later."""

    def __init__(self, delay: float, begin: float) -> None:
        self._delay = delay
        self._begin = begin  # a connection has to be made before anything is heard
        self._way: deque[tuple[float, bytes | None]] = deque()
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._begin += self._loop.time()
        transport.set_write_buffer_limits(_IN_FLIGHT)

    def data_received(self, data: bytes) -> None:
        self._add(data)
        self._size += len(data)
        if self._size > _IN_FLIGHT and self.transport is not None:
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        self._add(None)
        return True

    def connection_lost(self, _error: Exception | None) -> None:
        self._add(None)

    def _add(self, data: bytes | None) -> None:
        self._way.append((max(self._loop.time(), self._begin) + self._delay, data))
        self._plan()

    def _plan(self) -> None:
        if self._timer is None and self._way:
            self._timer = self._loop.call_at(self._way[0][0], self._arrive)

    def _arrive(self) -> None:
        self._timer = None
        if self.other is None:  # not connected yet: then it is planned again
            return
        now = self._loop.time()
        there = self.other.transport
        while self._way and self._way[0][0] <= now:
            _, data = self._way.popleft()
            if there is None or there.is_closing():
                continue
            if data is None:
                there.close()
            else:
                self._size -= len(data)
                there.write(data)
        if self.transport is not None and self._size <= _IN_FLIGHT:
            self.transport.resume_reading()
        self._plan()


class _Front(_End):
    def __init__(self, port: int, delay: float) -> None:
        super().__init__(delay, 2 * delay)
        self._port = port
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._task = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        back = _End(self._delay, 0.0)
        back.other = self
        await self._loop.create_connection(lambda: back, "127.0.0.1", self._port)
        self.other = back
        self._plan()


async def relay(port: int, to: int, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Front(to, seconds / 2), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(relay(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) / 1000))
