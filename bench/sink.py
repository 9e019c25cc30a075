"""A next hop that accepts everything and keeps nothing: what the benchmark relays to.

Prints its port, then serves until it is killed.  Plain SMTP on loopback, one message
after another on each connection, PIPELINING.
"""

import asyncio

EHLO = b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 104857600\r\n"


class Sink(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._buffer = b""
        self._in_data = False
        transport.write(b"220 sink.example ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        """Answer all that is there."""
        self._buffer += data
        while self._buffer:
            if self._in_data:
                before, end, rest = self._buffer.partition(b"\r\n.\r\n")
                if not end:
                    # Only what may be the beginning of the end is kept.
                    self._buffer = before[-4:]
                    return
                self._buffer, self._in_data = rest, False
                self._transport.write(b"250 2.0.0 Ok\r\n")
                continue
            line, end, rest = self._buffer.partition(b"\r\n")
            if not end:
                return
            self._buffer = rest
            verb = line[:4].upper()
            if verb == b"DATA":
                self._in_data = True
                self._transport.write(b"354 Go\r\n")
            elif verb == b"EHLO":
                self._transport.write(EHLO)
            elif verb == b"QUIT":
                self._transport.write(b"221 2.0.0 Bye\r\n")
                self._transport.close()
                return
            else:
                self._transport.write(b"250 2.0.0 Ok\r\n")


async def main() -> None:
    """Serve on a free port."""
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
