"""The world around an MPU under test, and what it must compute, from Python integers and numpy."""

from dataclasses import dataclass, field

import numpy as np

from dfx_rtl.arith import golden
from dfx_rtl.arith.formats import bits16, bits32, float16_from_bits, float32_from_bits
from dfx_rtl.control.activity import Activity
from dfx_rtl.isa import Instruction, Opcode

ENABLES = ("write", "scale_enable", "bias_enable", "residual_enable", "gelu", "mask",
           "maximum_enable", "arg_max", "logits")


def tag_of(number, position=0):
    return {"instruction": number, "layer": number % 7, "position": position}


def random_bits(rng, shape, kind="normal"):
    """binary16 bit patterns: ordinary numbers, any numbers, or with infinities and NaN."""
    if kind == "normal":
        return bits16(rng.normal(size=shape).astype(np.float16))
    bits = rng.integers(0, 1 << 16, size=shape).astype(np.uint16)
    if kind == "finite":
        return np.where((bits & 0x7C00) == 0x7C00, bits ^ 0x4000, bits).astype(np.uint16)
    if kind == "small":
        return bits16(rng.integers(-3, 4, size=shape).astype(np.float16))
    if kind == "garbage":
        special = rng.choice(np.array([0x7E00, 0x7C00, 0xFC00, 0xFFFF, 0x7BFF], dtype=np.uint16),
                             size=shape)
        return np.where(rng.random(shape) < 0.7, special, bits).astype(np.uint16)
    return bits


def integers(bits):
    """binary16 numbers in units of 2**-24, as Python integers; what is not finite gives 0."""
    bits = np.asarray(bits).astype(np.int64)
    exponent, fraction = (bits >> 10) & 31, bits & 1023
    magnitude = np.where(exponent == 0, fraction, (fraction | 1024) << np.maximum(exponent - 1, 0))
    magnitude = np.where(exponent == 31, 0, magnitude)
    return np.where(bits >> 15, -magnitude, magnitude).astype(object)


def exact_sums(x, weights):
    """The value and the flags of each column's sum."""
    with np.errstate(all="ignore"):
        terms = (float16_from_bits(x).astype(np.float64)[:, None]
                 * float16_from_bits(weights).astype(np.float64))
    value = np.array(integers(x) @ integers(weights)).reshape(-1)
    return value, {"positive_infinity": (terms == np.inf).any(axis=0),
                       "negative_infinity": (terms == -np.inf).any(axis=0),
                       "nan": np.isnan(terms).any(axis=0)}


def order_key(bits):
    """binary16 bits as integers in the total order."""
    bits = np.asarray(bits).astype(int)
    return np.where(bits >> 15, 0xFFFF ^ bits, bits | 0x8000)


@dataclass
class Job:
    """An instruction, its weights, and its tiles with garbage in every gated place."""

    instruction: Instruction
    weights: np.ndarray
    position: int = 0
    tiles: list = field(default_factory=list)

    @property
    def rows(self):
        return self.weights.shape[0]

    @property
    def columns(self):
        return self.weights.shape[1]


def make_job(rng, config, fields, *, rows, columns, position=0, kind="normal", weights=None):
    d, lanes = config.tile, config.lanes
    fields = {"block": 1, "first": 1, "last": 1, "token_rows": 1} | fields
    fields.setdefault("rows", rows)
    fields.setdefault("columns", columns)
    instruction = Instruction(Opcode.CONV1D, **fields)
    if weights is None:
        weights = random_bits(rng, (rows, columns), kind)
    row_count, groups = config.chunks(rows), config.groups(columns)
    padded = random_bits(rng, (row_count * d, groups * lanes), "garbage")
    padded[:rows, :columns] = weights
    tiles = []
    for begin in range(0, groups, instruction.block):
        for row in range(row_count):
            for group in range(begin, min(begin + instruction.block, groups)):
                tile = padded[row * d:(row + 1) * d, group * lanes:(group + 1) * lanes]
                tile = tile if instruction.transposed else tile.T
                tiles.append(int.from_bytes(np.ascontiguousarray(tile).astype("<u2").tobytes(),
                                            "little"))
    return Job(instruction, weights, position, tiles)


class Golden:
    """Executes jobs in order on register files; collects what must leave the MPU."""

    def __init__(self, config, vectors, scalars):
        self.config = config
        self.vectors = vectors.copy()
        self.scalars = scalars.copy()
        self.vector_writes, self.scalar_writes, self.logits, self.tokens = [], [], [], []
        self.overflow = self.invalid = False
        self.segments = []

    def _flags(self, result, *operands):
        operands_finite = np.logical_and.reduce(np.broadcast_arrays(
            *(np.isfinite(operand) for operand in operands)))
        self.overflow |= bool((np.isinf(result) & operands_finite).any())
        self.invalid |= bool(np.isnan(result).any())
        return result

    def _vector(self, chunk, length):
        count = self.config.chunks(length)
        return self.vectors[chunk:chunk + count].reshape(-1)[:length]

    def run(self, number, job):
        config, inst = self.config, job.instruction
        tag = tag_of(number, job.position)
        self.segments.append((self._vector(inst.source, job.rows), job.weights))
        if not inst.last:
            return
        x = np.concatenate([segment[0] for segment in self.segments])
        weights = np.concatenate([segment[1] for segment in self.segments])
        self.segments = []
        columns = job.columns
        value, flags = exact_sums(x, weights)
        v = golden.exact_to_fp32(value, **flags)
        self.invalid |= bool(np.isnan(v).any())
        if inst.scale_enable:
            scale = float32_from_bits(self.scalars[inst.scale])
            v = self._flags(golden.multiply32(v, scale), v, scale)
        for enable, chunk in ((inst.bias_enable, inst.bias), (inst.residual_enable, inst.residual)):
            if enable:
                operand = golden.to_fp32(float16_from_bits(self._vector(chunk, columns)))
                v = self._flags(golden.add32(v, operand), v, operand)
        if inst.write or inst.maximum_enable:
            h = self._flags(golden.to_fp16(v), v)
            h = bits16(golden.gelu16(h) if inst.gelu else h)
        if inst.write:
            filled = np.full(config.chunks(columns) * config.tile, 0xFC00 if inst.mask else 0,
                             dtype=np.uint16)
            filled[:columns] = h
            for k, chunk in enumerate(filled.reshape(-1, config.tile)):
                self.vectors[inst.destination + k] = chunk
                self.vector_writes.append((inst.destination + k, chunk.tolist(), tag))
        if inst.maximum_enable:
            best = h[np.argmax(order_key(h))]
            bits = int(bits32(golden.to_fp32(float16_from_bits(best))))
            self.scalars[inst.maximum] = bits
            self.scalar_writes.append((inst.maximum, bits, tag))
        if inst.logits:
            padded = np.zeros(config.groups(columns) * config.lanes, dtype=np.float32)
            padded[:columns] = v
            groups = bits32(padded).reshape(-1, config.lanes)
            self.logits += [(group.tolist(), k, int(k == len(groups) - 1), tag)
                            for k, group in enumerate(groups)]
        if inst.arg_max:
            numbers = np.flatnonzero(~np.isnan(v))
            if len(numbers):
                index = int(numbers[np.argmax(v[numbers])])
                self.tokens.append((inst.arg_max_base + index, int(bits32(v[index])), 1, tag))
            else:
                self.tokens.append((None, None, 0, tag))


@dataclass
class Stalls:
    """Probabilities that a thing is withheld in a cycle."""

    commands: float = 0.0
    weights: float = 0.0
    reads: float = 0.0
    logits: float = 0.0
    token: float = 0.0


class World:
    """Register files, streams and a trace around an MPU; one testbench plays all of it.

    ``vector_ready`` and ``scalar_ready`` say in which cycle a register is written by somebody
    else; a destination of a job is written by the job.
    """

    def __init__(self, dut, config, jobs, vectors, scalars, *, rng, stalls=None,
                 vector_ready=None, scalar_ready=None):
        self.dut, self.config, self.jobs, self.rng = dut, config, jobs, rng
        self.vectors, self.scalars = vectors.copy(), scalars.copy()
        self.stalls = stalls or Stalls()
        self.vector_ready = np.zeros(len(vectors))
        self.scalar_ready = np.zeros(len(scalars))
        for chunk, cycle in (vector_ready or {}).items():
            self.vector_ready[chunk] = cycle
        for scalar, cycle in (scalar_ready or {}).items():
            self.scalar_ready[scalar] = cycle
        for job in jobs:
            inst = job.instruction
            if inst.last and inst.write:
                count = config.chunks(job.columns)
                self.vector_ready[inst.destination:inst.destination + count] = np.inf
            if inst.last and inst.maximum_enable:
                self.scalar_ready[inst.maximum] = np.inf
        self.vector_writes, self.scalar_writes, self.logits, self.tokens = [], [], [], []
        self.overflow = self.invalid = False
        self.retired = 0
        self.cycle = 0
        self.activities = []
        self.issue_cycles, self.write_cycles, self.retire_cycles = [], [], []
        self.reads = []

    async def testbench(self, ctx):
        dut, rng, stalls = self.dut, self.rng, self.stalls
        commands = [{"instruction": self._instruction(job), "tag": tag_of(number, job.position)}
                    for number, job in enumerate(self.jobs)]
        tiles = [tile for job in self.jobs for tile in job.tiles]
        next_command = next_tile = 0
        command_valid = weights_valid = False
        ports = (("operand", self.vectors, self.vector_ready),
                 ("bias", self.vectors, self.vector_ready),
                 ("residual", self.vectors, self.vector_ready),
                 ("scale", self.scalars, self.scalar_ready))
        ctx.set(dut.vector_write.ready, 1)
        ctx.set(dut.scalar_write.ready, 1)
        weights = dut.weights.payload.as_value()
        shown = None
        while self.retired < len(self.jobs) or not self._drained():
            if not command_valid:
                command_valid = (next_command < len(commands)
                                 and rng.random() >= stalls.commands)
                if command_valid:
                    ctx.set(dut.commands.payload, commands[next_command])
                ctx.set(dut.commands.valid, command_valid)
            if not weights_valid:
                weights_valid = next_tile < len(tiles) and rng.random() >= stalls.weights
                ctx.set(dut.weights.valid, weights_valid)
            # What is on the stream without valid means nothing.
            if shown != (next_tile, weights_valid):
                shown = (next_tile, weights_valid)
                ctx.set(weights, tiles[next_tile] if weights_valid else (1 << len(weights)) - 1)
            for name, _, ready in ports:
                port = getattr(dut, name)
                address = ctx.get(port.address)
                ctx.set(port.ready, bool(address < len(ready) and ready[address] <= self.cycle
                                         and rng.random() >= stalls.reads))
            ctx.set(dut.logits.ready, rng.random() >= stalls.logits)
            ctx.set(dut.token.ready, rng.random() >= stalls.token)

            if command_valid and ctx.get(dut.commands.ready):
                command_valid = False
                next_command += 1
            if weights_valid and ctx.get(dut.weights.ready):
                weights_valid = False
                next_tile += 1
                self.issue_cycles.append(self.cycle)
            reads = []
            for name, storage, _ in ports:
                port = getattr(dut, name)
                if ctx.get(port.valid) and ctx.get(port.ready):
                    address = ctx.get(port.address)
                    self.reads.append((name, address, self.cycle))
                    reads.append((port, storage[address]))
            self._collect(ctx)
            self.cycle += 1
            await ctx.tick()
            for port, value in reads:
                if np.ndim(value):
                    value = int.from_bytes(value.astype("<u2").tobytes(), "little")
                ctx.set(port.data.as_value(), int(value))
        ctx.set(dut.commands.valid, 0)
        ctx.set(dut.weights.valid, 0)
        for _ in range(8):
            self._collect(ctx)
            self.cycle += 1
            await ctx.tick()
        assert next_tile == len(tiles)

    def _drained(self):
        return (len(self.tokens) == sum(job.instruction.arg_max and job.instruction.last
                                        for job in self.jobs)
                and len(self.logits) == sum(self.config.groups(job.columns) for job in self.jobs
                                            if job.instruction.logits and job.instruction.last))

    @staticmethod
    def _instruction(job):
        return {"opcode": int(job.instruction.opcode), **job.instruction.fields}

    def _collect(self, ctx):
        dut = self.dut
        self.activities.append(ctx.get(dut.activity))
        self.overflow |= bool(ctx.get(dut.overflow))
        self.invalid |= bool(ctx.get(dut.invalid))
        if ctx.get(dut.retired):
            self.retired += 1
            self.retire_cycles.append(self.cycle)
        if ctx.get(dut.vector_write.valid):
            payload = ctx.get(dut.vector_write.payload)
            chunk = [element.as_bits() for element in payload.data]
            self.vector_writes.append((payload.address, chunk, _tag(payload.tag)))
            self.vectors[payload.address] = chunk
            self.vector_ready[payload.address] = self.cycle + 1
            self.write_cycles.append(self.cycle)
        if ctx.get(dut.scalar_write.valid):
            payload = ctx.get(dut.scalar_write.payload)
            self.scalar_writes.append((payload.address, payload.data.as_bits(), _tag(payload.tag)))
            self.scalars[payload.address] = payload.data.as_bits()
            self.scalar_ready[payload.address] = self.cycle + 1
        if ctx.get(dut.logits.valid) and ctx.get(dut.logits.ready):
            payload = ctx.get(dut.logits.payload)
            self.logits.append(([value.as_bits() for value in payload.values], payload.group,
                                payload.last, _tag(payload.tag)))
        if ctx.get(dut.token.valid) and ctx.get(dut.token.ready):
            payload = ctx.get(dut.token.payload)
            found = payload.found
            self.tokens.append((payload.id if found else None,
                                payload.logit.as_bits() if found else None,
                                found, _tag(payload.tag)))

    def check(self, golden_machine):
        for name in ("vector_writes", "scalar_writes", "logits", "tokens", "overflow", "invalid"):
            assert getattr(self, name) == getattr(golden_machine, name), name

    def counts(self):
        return {activity: self.activities.count(activity) for activity in Activity}


def _tag(tag):
    return {"instruction": tag.instruction, "layer": tag.layer, "position": tag.position}
