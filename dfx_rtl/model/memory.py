"""The machine's memories: HBM by tiles, DDR by bytes."""

import mmap

import numpy as np

__all__ = ["Ddr", "Hbm", "private_copy"]

# What the caches hold before they are written: a NaN and an infinity by turns. A product that
# takes an element too many shows.
_UNWRITTEN = (0x7E00, 0x7C00)


def private_copy(image):
    """A copy, or, of a mapped file, a mapping that keeps its changes to itself."""
    if isinstance(image, np.memmap):
        return np.memmap(image.filename, mode="c", dtype=image.dtype, shape=image.shape,
                         offset=image.offset)
    return np.array(image)


class Hbm:
    """All channels.

    Parameters
    ----------
    image : numpy array of uint8, (channels, bytes)
        Stays as it is; the machine has its own copy.
    config : CoreConfig
    caches : list of (first tile, tiles)
        What is filled with garbage.
    """

    def __init__(self, image, config, caches):
        self._config = config
        self._image = private_copy(image)
        self._changed = False  # beside the caches
        # An element of a tile: (channel, tile, place in the channel's word).
        self._words = self._image.view("<u2").reshape(config.channels, -1, config.word_bits // 16)
        size = self._words.shape[2]
        for first, count in caches:
            self._words[:, first:first + count] = np.resize(_UNWRITTEN, size)

    @property
    def image(self):
        """The bytes: (channels, bytes)."""
        return self._image

    def read(self, tile, tiles):
        """``tiles`` rows of a tile's elements in linear order, uint16."""
        words = self._words[:, tile:tile + tiles]
        return words.transpose(1, 0, 2).reshape(tiles, -1)

    def release(self, tile, tiles):
        """Give back the memory of tiles that are still as the image has them, if it is a mapped
        file; they would be read from there again."""
        image = self._image
        if (self._changed or not isinstance(image, np.memmap)
                or not hasattr(mmap, "MADV_DONTNEED")):
            return
        page, size = mmap.PAGESIZE, self._config.word_bytes
        for channel in range(self._config.channels):
            # Only pages that hold nothing else: K and V have been written to others.
            start = (image.offset % mmap.ALLOCATIONGRANULARITY
                     + channel * image.shape[1] + tile * size)
            first, last = -(-start // page), (start + tiles * size) // page
            if first < last:
                image.base.madvise(mmap.MADV_DONTNEED, first * page, (last - first) * page)

    def write(self, tile, element, values):
        """Write elements of a tile from ``element`` on in linear order."""
        size = self._words.shape[2]
        places = np.arange(element, element + len(values))
        self._words[places // size, tile, places % size] = values

    def write_tiles(self, tile, values):
        """Write whole tiles, a row a tile."""
        self._changed = True
        channels, _, size = self._words.shape
        self._words[:, tile:tile + len(values)] = values.reshape(
            len(values), channels, size).transpose(1, 0, 2)


class Ddr:
    """DDR.

    Parameters
    ----------
    image : numpy array of uint8
        Stays as it is; the machine has its own copy.
    size : int
        Bytes in all; those behind the image are 0.
    """

    def __init__(self, image, size):
        self._image = private_copy(image)
        self._rest = np.zeros(size - len(image), np.uint8)

    def read(self, address, size):
        """Bytes."""
        assert address + size <= len(self._image) + len(self._rest)
        if address + size <= len(self._image):
            return self._image[address:address + size]
        start = address - len(self._image)
        return self._rest[start:start + size]

    def write(self, address, raw):
        """Write bytes."""
        place = self.read(address, len(raw))
        assert len(place) == len(raw)
        place[...] = raw
