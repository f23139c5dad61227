"""Messages of a running notebook that arrive and wake nobody.

Now and then the asyncio socket of pyzmq misses the moment at which a kernel's reply comes in, and a notebook with a
widget then waits for ever, with its kernel idle (jupyter/nbclient issue 312). Asking again every second finds it.
"""

import time
from queue import Empty

from jupyter_client.channels import AsyncZMQSocketChannel

EVERY = 1.0  # s


async def get_msg(self, timeout=None):
    """The next message, or ``Empty`` after ``timeout`` seconds, as the method it replaces; but it asks again often."""
    end = float("inf") if timeout is None else time.monotonic() + timeout
    while not await self.socket.poll(int(1000 * max(0.0, min(EVERY, end - time.monotonic())))):
        if time.monotonic() >= end:
            raise Empty
    return await self._recv()


def ask_again():
    """From now on every notebook that this process executes gets its messages."""
    AsyncZMQSocketChannel.get_msg = get_msg


def setup(app):
    """A Sphinx extension."""
    ask_again()
    return {"parallel_read_safe": True}
