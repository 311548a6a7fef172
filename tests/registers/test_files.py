# amaranth: UnusedElaboratable=no
"""The register files: data, the wait on valid bits, the order of the writers."""

import random

import pytest

from dfx_rtl.registers.files import ScalarRegisterFile, VectorRegisterFile


def test_vector_reads_wait_and_see_the_newest_write(simulate):
    dut = VectorRegisterFile(chunks=16, tile=4, readers=2, writers=3)
    rng = random.Random(1)
    content = {}
    seen = [0, 0]

    async def writer(ctx):
        for _ in range(300):
            wanted = [rng.random() < 0.5 for _ in range(3)]
            values = [rng.getrandbits(64) for _ in range(3)]
            addresses = [rng.randrange(16) for _ in range(3)]
            for index, write in enumerate(dut.writes):
                ctx.set(write.valid, wanted[index])
                ctx.set(write.p.address, addresses[index])
                ctx.set(write.p.data.as_value(), values[index])
                ctx.set(write.p.tag.position, index)
            ready = [ctx.get(write.ready) for write in dut.writes]
            granted = [index for index in range(3) if wanted[index] and ready[index]]
            assert granted == [index for index in range(3) if wanted[index]][:1]
            assert ctx.get(dut.written) == any(wanted)
            if granted:
                assert ctx.get(dut.write.tag.position) == granted[0]
                assert ctx.get(dut.write.address) == addresses[granted[0]]
            await ctx.tick()
            if granted:
                content[addresses[granted[0]]] = values[granted[0]]
                ctx.set(dut.valid, ctx.get(dut.valid) | 1 << addresses[granted[0]])

    def reader(index):
        rng = random.Random(10 + index)

        async def bench(ctx):
            read = dut.reads[index]
            for _ in range(280):
                address = rng.randrange(16)
                ctx.set(read.address, address)
                ctx.set(read.valid, 1)
                assert ctx.get(read.ready) == (address in content)
                if address in content:
                    expected = content[address]
                    await ctx.tick()
                    assert ctx.get(read.data.as_value()) == expected
                    ctx.set(read.valid, 0)
                    seen[index] += 1
                await ctx.tick()
                if address in content and seen[index]:
                    ctx.set(read.valid, 0)
        return bench

    simulate(dut, writer, reader(0), reader(1))
    assert min(seen) > 50


def test_scalar_file_reads_what_was_written(simulate):
    dut = ScalarRegisterFile(scalars=4, readers=1, writers=2)

    async def bench(ctx):
        ctx.set(dut.writes[1].valid, 1)
        ctx.set(dut.writes[1].p.address, 3)
        ctx.set(dut.writes[1].p.data.as_value(), 0x3F800000)
        assert ctx.get(dut.writes[1].ready)
        ctx.set(dut.writes[0].valid, 1)
        assert not ctx.get(dut.writes[1].ready)
        ctx.set(dut.writes[0].valid, 0)
        await ctx.tick()
        ctx.set(dut.writes[1].valid, 0)
        ctx.set(dut.reads[0].address, 3)
        ctx.set(dut.reads[0].valid, 1)
        assert not ctx.get(dut.reads[0].ready)
        ctx.set(dut.valid, 1 << 3)
        assert ctx.get(dut.reads[0].ready)
        await ctx.tick()
        ctx.set(dut.reads[0].address, 0)
        assert ctx.get(dut.reads[0].data.as_value()) == 0x3F800000

    simulate(dut, bench)


def test_more_scalars_than_can_be_named():
    with pytest.raises(ValueError, match="^Scalars must be at most 256, not 512$"):
        ScalarRegisterFile(512, 1, 1)
