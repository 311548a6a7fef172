"""The bytes behind memory ports: numpy arrays, served by one coroutine a clock domain."""

import numpy as np
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["StorageSignature", "Storage", "StorageHub", "serve"]


class StorageSignature(wiring.Signature):
    """A synchronous memory, from the side of the port that uses it.

    An engine samples enables and addresses at the clock edge, and presents ``read_data`` after it.
    ``read_data`` stays as it is while ``read_enable`` is low. A read and a write never happen in
    the same cycle.

    Parameters
    ----------
    address_width : :class:`int`
        Bits of the number of a beat.
    data_width : :class:`int`
        Bits of a beat.

    Members
    -------
    read_enable : ``Out(1)``
    read_address : ``Out(address_width)``
    read_data : ``In(data_width)``
    write_enable : ``Out(1)``
    write_address : ``Out(address_width)``
    write_data : ``Out(data_width)``
    write_strobe : ``Out(data_width // 8)``
        The bytes that are written.
    """

    def __init__(self, address_width, data_width):
        self._address_width = address_width
        self._data_width = data_width
        super().__init__({
            "read_enable":   Out(1),
            "read_address":  Out(address_width),
            "read_data":     In(data_width),
            "write_enable":  Out(1),
            "write_address": Out(address_width),
            "write_data":    Out(data_width),
            "write_strobe":  Out(data_width // 8),
        })

    @property
    def address_width(self):
        """Bits of the number of a beat."""
        return self._address_width

    @property
    def data_width(self):
        """Bits of a beat."""
        return self._data_width

    def __eq__(self, other):
        return (type(self) is type(other) and self._address_width == other._address_width
                and self._data_width == other._data_width)

    def __repr__(self):
        return f"StorageSignature({self._address_width}, {self._data_width})"


class Storage:
    """The bytes of one memory, read and written by the beat.

    Parameters
    ----------
    size_bytes : :class:`int`
        Size of the memory, in bytes: a multiple of the beat.
    beat_bytes : :class:`int`
        Bytes of a beat.
    image : :class:`numpy.ndarray`, :class:`bytes` or None
        What it holds. A writeable array (or ``numpy.memmap``) of exactly this size in bytes is used
        as it is, without a copy; anything shorter is copied to the start, and zeros follow.

    Raises
    ------
    :exc:`ValueError`
        If the size is not a positive multiple of the beat, or the image is too long.
    """

    def __init__(self, size_bytes, beat_bytes, image=None):
        if size_bytes <= 0 or size_bytes % beat_bytes:
            raise ValueError(f"Size must be a positive multiple of {beat_bytes} bytes, "
                             f"not {size_bytes!r}")
        self.beat_bytes = beat_bytes
        if isinstance(image, np.ndarray):
            image = image.reshape(-1).view(np.uint8)
        elif image is not None:
            image = np.frombuffer(image, dtype=np.uint8)
        if image is not None and image.size > size_bytes:
            raise ValueError(f"Image must fit in {size_bytes} bytes, not {image.size}")
        if image is not None and image.size == size_bytes and image.flags.writeable:
            self.array = image
        else:
            self.array = np.zeros(size_bytes, np.uint8)
            if image is not None:
                self.array[:image.size] = image
        self._view = memoryview(self.array)

    def __len__(self):
        return self.array.size

    def read_bytes(self, beat):
        """The bytes of a beat."""
        start = beat * self.beat_bytes
        return self._view[start:start + self.beat_bytes]

    def read(self, beat):
        """A beat as an integer, byte 0 in the lowest bits."""
        return int.from_bytes(self.read_bytes(beat), "little")

    def write(self, beat, value, strobe=-1):
        """Write the bytes of a beat whose bit in ``strobe`` is set."""
        start = beat * self.beat_bytes
        every = (1 << self.beat_bytes) - 1
        strobe &= every
        value = value.to_bytes(self.beat_bytes, "little")
        if strobe == every:
            self._view[start:start + self.beat_bytes] = value
            return
        while strobe:
            index = (strobe & -strobe).bit_length() - 1
            self._view[start + index] = value[index]
            strobe &= strobe - 1

    def fill(self, start=0, stop=None, pattern=(0x7E00, 0x7C00)):
        """Fill bytes ``start`` to ``stop`` with 16-bit words in turn; as binary16 the default is
        NaN and infinity, which spoils every result that uses what has never been written."""
        part = self.array[start:stop]
        words = np.resize(np.array(pattern, dtype="<u2"), -(-part.size // 2))
        part[:] = words.view(np.uint8)[:part.size]


class StorageHub(wiring.Component):
    """Gathers the storage ports of one clock domain, so that an engine serves them at once.

    It reads and drives the signals of the ports where they are; nothing has to be connected. What
    a port asks for at a clock edge stands in the members after that edge, and the engine answers
    by changing ``read_data`` before the next one. The fields of port k are at k times the largest
    width of all ports.

    Parameters
    ----------
    ports : sequence of interface objects of :class:`StorageSignature`
        For example ``[port.storage for port in memory_ports]``.

    Members
    -------
    read_stb, write_stb : ``Out(ports)``
        A bit a port: it reads, or writes.
    read_addresses, write_addresses : ``Out(ports * address_width)``
        Beats; valid where the strobe is set.
    write_data : ``Out(ports * data_width)``
    write_strobes : ``Out(ports * data_width // 8)``
    read_data : ``In(ports * data_width)``
        What was read; the bits of a port that does not read stay as they are.

    Raises
    ------
    :exc:`ValueError`
        If there is no port.
    """

    def __init__(self, ports):
        self._ports = list(ports)
        if not self._ports:
            raise ValueError("A storage hub must have a port")
        self.address_width = max(len(port.read_address) for port in self._ports)
        self.data_width = max(len(port.read_data) for port in self._ports)
        count = len(self._ports)
        super().__init__({
            "read_stb":        Out(count),
            "read_addresses":  Out(count * self.address_width),
            "read_data":       In(count * self.data_width),
            "write_stb":       Out(count),
            "write_addresses": Out(count * self.address_width),
            "write_data":      Out(count * self.data_width),
            "write_strobes":   Out(count * self.data_width // 8),
        })

    @property
    def ports(self):
        """The storage ports, in order."""
        return tuple(self._ports)

    def elaborate(self, platform):
        m = Module()
        m.d.sync += [self.read_stb.eq(0), self.write_stb.eq(0)]
        for index, port in enumerate(self._ports):
            def part(wide, width, index=index):
                return wide[index * width:(index + 1) * width]

            m.d.comb += port.read_data.eq(part(self.read_data, self.data_width))
            with m.If(port.read_enable):
                m.d.sync += [
                    self.read_stb[index].eq(1),
                    part(self.read_addresses, self.address_width).eq(port.read_address),
                ]
            with m.If(port.write_enable):
                m.d.sync += [
                    self.write_stb[index].eq(1),
                    part(self.write_addresses, self.address_width).eq(port.write_address),
                    part(self.write_data, self.data_width).eq(port.write_data),
                    part(self.write_strobes, self.data_width // 8).eq(port.write_strobe),
                ]
        return m


def serve(hub, storages, *, domain="sync"):
    """A background testbench that serves all ports of a hub from their storages.

    Parameters
    ----------
    hub : :class:`StorageHub`
    storages : sequence of :class:`Storage`
        One a port, in the order of the ports. One storage may stand for several ports.
    domain : :class:`str`
        Clock domain of the hub, as the top level calls it.

    Returns
    -------
    coroutine function
        ``simulator.add_testbench(serve(hub, storages), background=True)``
    """
    storages = list(storages)
    if len(storages) != len(hub.ports):
        raise ValueError(f"There must be a storage for each of {len(hub.ports)} ports, "
                         f"not {len(storages)}")
    address_width, data_width = hub.address_width, hub.data_width
    address_mask, data_mask = (1 << address_width) - 1, (1 << data_width) - 1
    strobe_width = data_width // 8
    strobe_mask = (1 << strobe_width) - 1
    padding = [bytes(data_width // 8 - storage.beat_bytes) for storage in storages]

    def write(ctx, pending):
        addresses = ctx.get(hub.write_addresses)
        values = ctx.get(hub.write_data)
        strobes = ctx.get(hub.write_strobes)
        for index, storage in enumerate(storages):
            if pending >> index & 1:
                beat_mask = (1 << 8 * storage.beat_bytes) - 1
                storage.write(addresses >> index * address_width & address_mask,
                              values >> index * data_width & data_mask & beat_mask,
                              strobes >> index * strobe_width & strobe_mask)

    async def testbench(ctx):
        beats = [bytes(data_width // 8)] * len(storages)
        async for _ in ctx.tick(domain):
            pending = ctx.get(hub.write_stb)
            if pending:
                write(ctx, pending)
            pending = ctx.get(hub.read_stb)
            if pending:
                addresses = ctx.get(hub.read_addresses)
                for index, storage in enumerate(storages):
                    if pending >> index & 1:
                        beat = addresses >> index * address_width & address_mask
                        beats[index] = bytes(storage.read_bytes(beat)) + padding[index]
                ctx.set(hub.read_data, int.from_bytes(b"".join(beats), "little"))
    return testbench
