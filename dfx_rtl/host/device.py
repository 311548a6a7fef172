"""The driver's bus to a card: the character devices of the XDMA driver for Linux.

The driver is AMD's ``dma_ip_drivers``, directory ``XDMA/linux-kernel``; PG195 describes the block
behind it. A device is a file: a position in it is an address on the card.
"""

import errno
import os
import select
import time

from .driver import Bus

__all__ = ["DeviceBus", "DeviceError"]

#: Bytes of one read or write of memory. The kernel moves less than 2 GiB at once.
_PIECE = 1 << 26
_REGISTER = 4


class DeviceError(RuntimeError):
    """A device of the card cannot be used.

    Attributes
    ----------
    path : str
        The device.
    """

    def __init__(self, path, message):
        self.path = path
        super().__init__(f"{path}: {message}")


class DeviceBus(Bus):
    """A core on a card, by way of PCI Express.

    Methods are asynchronous as the driver wants it, but simply return when they are done. Use it
    as a context manager, or call :meth:`close`.

    Parameters
    ----------
    prefix : str
        What the names of the devices begin with: ``{prefix}_user`` for registers,
        ``{prefix}_h2c_0`` and ``{prefix}_c2h_0`` for the memory, ``{prefix}_events_0`` for the
        interrupt.
    register_offset : int
        Where the core's registers begin in ``{prefix}_user``.
    memory_bytes : int or None
        Bytes of memory beside the core, the configuration's ``ddr_bytes``; None does not check.
        The card does not: an address beyond comes out somewhere else.
    interrupt : bool
        Wait for the interrupt; else, look at the registers again every ``poll_seconds``.
    poll_seconds : float
        Between two looks, without the interrupt.
    wait_seconds : float
        The longest wait; the driver then looks at the registers in any case.

    Raises
    ------
    DeviceError
        If a device is not there or cannot be opened.
    """

    def __init__(self, prefix="/dev/xdma0", *, register_offset=0, memory_bytes=None,
                 interrupt=True, poll_seconds=0.001, wait_seconds=1.0):
        self._prefix = prefix
        self._register_offset = register_offset
        self._memory_bytes = memory_bytes
        self._poll_seconds = poll_seconds
        self._wait_seconds = wait_seconds
        self._files = {}
        try:
            self._open("user", os.O_RDWR)
            self._open("h2c_0", os.O_WRONLY)
            self._open("c2h_0", os.O_RDONLY)
            if interrupt:
                self._open("events_0", os.O_RDONLY | os.O_NONBLOCK)
        except DeviceError:
            self.close()
            raise

    def _path(self, name):
        return f"{self._prefix}_{name}"

    def _open(self, name, flags):
        path = self._path(name)
        try:
            self._files[name] = os.open(path, flags | os.O_CLOEXEC)
        except OSError as error:
            hint = {errno.ENOENT: "there is no such device: is the xdma module loaded, and the "
                                  "card programmed before the machine looked for it?",
                    errno.EACCES: "may not be opened: use root, or a udev rule"}
            raise DeviceError(path, hint.get(error.errno, error.strerror)) from error

    def close(self):
        """Close the devices."""
        while self._files:
            os.close(self._files.popitem()[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _file(self, name):
        if name not in self._files:
            raise DeviceError(self._path(name), "is closed")
        return self._files[name]

    def _call(self, name, function, *arguments):
        """A system call on a device."""
        file = self._file(name)
        try:
            return function(file, *arguments)
        except OSError as error:
            raise DeviceError(self._path(name), f"{function.__name__} failed: {error.strerror}") \
                from error

    async def read_register(self, offset):
        place = self._register_offset + offset
        content = self._call("user", os.pread, _REGISTER, place)
        if len(content) != _REGISTER:
            raise DeviceError(self._path("user"),
                              f"register {offset:#x} gave {len(content)} of {_REGISTER} bytes")
        return int.from_bytes(content, "little")

    async def write_register(self, offset, word):
        place = self._register_offset + offset
        count = self._call("user", os.pwrite, word.to_bytes(_REGISTER, "little"), place)
        if count != _REGISTER:
            raise DeviceError(self._path("user"),
                              f"register {offset:#x} took {count} of {_REGISTER} bytes")

    def _check_range(self, name, address, size):
        if address < 0 or size < 0 or (self._memory_bytes is not None
                                       and address + size > self._memory_bytes):
            limit = "" if self._memory_bytes is None else f" of {self._memory_bytes:#x}"
            raise DeviceError(self._path(name),
                              f"{size} bytes at {address:#x} are not in the memory{limit}")

    async def read_memory(self, address, size):
        self._check_range("c2h_0", address, size)
        content = bytearray()
        while len(content) < size:
            piece = self._call("c2h_0", os.pread, min(_PIECE, size - len(content)),
                               address + len(content))
            if not piece:
                raise DeviceError(self._path("c2h_0"), f"nothing comes from "
                                                       f"{address + len(content):#x}")
            content += piece
        return bytes(content)

    async def write_memory(self, address, content):
        view = memoryview(content).cast("B")
        self._check_range("h2c_0", address, len(view))
        done = 0
        while done < len(view):
            count = self._call("h2c_0", os.pwrite, view[done:done + _PIECE], address + done)
            if not count:
                raise DeviceError(self._path("h2c_0"), f"nothing goes to {address + done:#x}")
            done += count

    async def wait(self):
        """Return when the interrupt is raised, or after a while.

        A read of the event device gives the number of interrupts since the last read, and clears
        it. An interrupt that came before the wait ends it at once.
        """
        if "events_0" not in self._files:
            self._file("user")
            time.sleep(self._poll_seconds)
            return
        file = self._file("events_0")
        poll = select.poll()
        poll.register(file, select.POLLIN)
        if poll.poll(1000 * self._wait_seconds):
            self._call("events_0", os.read, _REGISTER)
