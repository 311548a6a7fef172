// A C interface to a translated system: its clocks, its memories, and its ports as bytes.
//
// Python reads and writes ports where they lie in memory. Everything that happens every cycle is
// done here. Compiled together with what Verilator makes of the system; "ports.h" is a list of
// PORT(name), one for each port of the top module. The machine must be little-endian.
//
// Several systems make a ring. What crosses from one to its neighbour in a cycle is seen there
// `delay` cycles later, so each of them runs `delay` cycles without a look at the others.

#include <algorithm>
#include <atomic>
#include <barrier>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "VSystem.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

namespace {

// The bytes of one memory: those of a numpy array, used where they are.
struct Storage {
    uint8_t *bytes;
    uint64_t size;
    uint64_t beat;  // Bytes of a beat.
};

template <class Port>
uint8_t *bytes_of(Port &port) {
    return reinterpret_cast<uint8_t *>(&port);
}

// `width` bits from bit `first` on; at most 56.
uint64_t bits(const uint8_t *bytes, unsigned first, unsigned width) {
    uint64_t value = 0;
    for (unsigned at = (first + width - 1) / 8 + 1; at-- > first / 8;)
        value = value << 8 | bytes[at];
    return value >> first % 8 & ((uint64_t{1} << width) - 1);
}

struct Port {
    const char *name;
    uint8_t *bytes;
    uint64_t size;
};

// The storages behind a hub of ports (see top.py), in the order of its ports.
struct Hub {
    struct Channel {
        Port address, data;  // Of reads.
        Storage storage;
    };
    unsigned address_width, data_bytes;
    std::vector<Channel> channels;

    // Before a clock edge: what the ports read at it.
    void read(uint64_t enables) {
        while (enables) {
            const Channel &channel = channels[take(enables)];
            const Port &address = channel.address;
            const uint8_t *from = beat(channel.storage, bits(address.bytes, 0, address_width));
            if (from)
                std::memcpy(channel.data.bytes, from, channel.storage.beat);
            else
                std::memset(channel.data.bytes, 0, channel.storage.beat);
        }
    }

    // After a clock edge: what the ports wrote at it.
    void write(uint64_t enables, const uint8_t *addresses, const uint8_t *data,
               const uint8_t *strobes) {
        while (enables) {
            const unsigned number = take(enables);
            const Storage &storage = channels[number].storage;
            uint8_t *to = beat(storage, bits(addresses, number * address_width, address_width));
            const unsigned first = number * data_bytes;
            for (unsigned index = 0; to && index < storage.beat; ++index)
                if (bits(strobes, first + index, 1)) to[index] = data[first + index];
        }
    }

  private:
    // The lowest set bit, which is cleared.
    static unsigned take(uint64_t &pending) {
        const unsigned index = __builtin_ctzll(pending);
        pending &= pending - 1;
        return index;
    }

    // Where a beat lies, or null if there is none of that number.
    static uint8_t *beat(const Storage &storage, uint64_t number) {
        const uint64_t first = number * storage.beat;
        return first + storage.beat <= storage.size ? storage.bytes + first : nullptr;
    }
};

// A core's link to one of its neighbours: what leaves the core in the last cycles, and what comes.
struct Link {
    static constexpr uint8_t active = 3;  // Bits of the first byte; without them a word is idle.
    Port out{}, in{};
    const Link *back = nullptr;  // The neighbour's link to this core; null in a ring of one.
    uint64_t delay = 0;
    uint64_t cut = ~uint64_t{0};  // From this cycle on nothing leaves.
    // The neighbour reads up to `delay` cycles behind, while up to `delay` cycles are written.
    std::vector<uint8_t> words;

    void join(const Link &other, uint64_t cycles) {
        back = &other;
        delay = cycles;
        words.assign(2 * delay * out.size, 0);
    }

    // Before the edge that begins a cycle.
    void receive(uint64_t cycle) const {
        const uint8_t *word = cycle < delay ? nullptr : back->word(cycle - delay);
        if (word && *word & active)
            std::memcpy(in.bytes, word, in.size);
        else
            *in.bytes = 0;
    }

    // Behind that edge.
    void send(uint64_t cycle) {
        uint8_t *to = words.data() + cycle % (2 * delay) * out.size;
        if (*out.bytes & active && cycle < cut)
            std::memcpy(to, out.bytes, out.size);
        else
            *to = 0;
    }

  private:
    const uint8_t *word(uint64_t cycle) const {
        return words.data() + cycle % (2 * delay) * out.size;
    }
};

// Something that is reported: a bit of `events`, and the port that says more.
struct Event {
    unsigned bit;
    Port port;
};

}  // namespace

struct Simulator {
    VerilatedContext context;
    VSystem top{&context, "TOP"};
    Hub hubs[2];  // HBM, DDR.
    uint64_t kernel_period, hbm_period;
    uint64_t next_kernel, next_hbm;  // The times of the next rising edges.
    uint64_t cycle = 0;              // Kernel cycles so far.
    std::vector<Port> ports;
    Link links[2];                   // To the next core, to the one before.
    std::vector<Event> events;
    std::vector<uint8_t> log;        // Of the last call of dfx_run.
    bool profiling = false;
    uint64_t profiled_value = 0;     // 0 before the first cycle.
    std::vector<uint64_t> profiled;  // Cycle and value, for each change.
#if VM_TRACE
    std::unique_ptr<VerilatedVcdC> waves;
    std::string waves_path;
    uint64_t waves_first = 0, waves_last = 0;
#endif

    Simulator(uint64_t kernel, uint64_t hbm)
        : kernel_period{kernel}, hbm_period{hbm}, next_kernel{kernel / 2}, next_hbm{hbm / 2} {
#define PORT(name) ports.push_back({#name, bytes_of(top.name), sizeof(top.name)});
#include "ports.h"
#undef PORT
#if VM_TRACE
        context.traceEverOn(true);
        context.timeunit(-9);
        context.timeprecision(-9);
#endif
        top.eval();
    }

    ~Simulator() {
#if VM_TRACE
        if (waves) waves->close();
#endif
        top.final();
    }

    void eval(uint64_t time) {
        context.time(time);
        top.eval();
#if VM_TRACE
        if (waves && waves->isOpen()) waves->dump(time);
#endif
    }

    // A rising edge of one clock or both. A clock falls with the next edge of the other one, which
    // spares a call, unless it rises again itself.
    void edge(uint64_t time, bool kernel, bool hbm) {
        if ((kernel && top.clk) || (hbm && top.hbm_clk)) {
            const uint64_t half = (kernel ? kernel_period : hbm_period) / 2;
            top.clk = 0;
            top.hbm_clk = 0;
            eval(time - half);
        }
        if (hbm) hubs[0].read(top.hbm_read_enables);
        if (kernel) hubs[1].read(top.ddr_read_enables);
        top.clk = kernel;
        top.hbm_clk = hbm;
        eval(time);
        if (hbm)
            hubs[0].write(top.hbm_write_stb, bytes_of(top.hbm_write_addresses),
                          bytes_of(top.hbm_write_data), bytes_of(top.hbm_write_strobes));
        if (kernel)
            hubs[1].write(top.ddr_write_stb, bytes_of(top.ddr_write_addresses),
                          bytes_of(top.ddr_write_data), bytes_of(top.ddr_write_strobes));
    }

    // What the host has changed reaches the system.
    void take_inputs() {
        top.host_clk = 1;
        top.eval();
        top.host_clk = 0;
        top.eval();
    }

    // All that comes before the next edge of the kernel clock.
    void approach() {
        for (; next_hbm < next_kernel; next_hbm += hbm_period) edge(next_hbm, false, true);
    }

    void step() {
#if VM_TRACE
        record();
#endif
        approach();
        for (const Link &link : links)
            if (link.back) link.receive(cycle);
        const bool both = next_hbm == next_kernel;
        edge(next_kernel, true, both);
        next_kernel += kernel_period;
        if (both) next_hbm += hbm_period;
        if (profiling && top.system_profile != profiled_value) {
            profiled_value = top.system_profile;
            profiled.push_back(cycle << 24 | profiled_value);
        }
        for (Link &link : links)
            if (link.back) link.send(cycle);
        ++cycle;
    }

    // Run kernel cycles, and keep what happens. Returns how many it were; with a mask of 1 for
    // `stop`, fewer if the interrupt gets high.
    uint64_t run(uint64_t cycles, unsigned mask, unsigned stop) {
        for (uint64_t count = 1; count <= cycles; ++count) {
            step();
            if (const unsigned happened = top.system_events & mask) report(happened);
            if (top.system_interrupt & stop) return count;
        }
        return cycles;
    }

    // Append events to the log: the cycles so far, the event's bit, and the bytes of its port.
    void report(unsigned happened) {
        for (const Event &event : events)
            if (happened & event.bit) {
                const uint64_t head[] = {cycle, event.bit};
                const size_t at = log.size();
                log.resize(at + sizeof head + event.port.size);
                std::memcpy(&log[at], head, sizeof head);
                std::memcpy(&log[at + sizeof head], event.port.bytes, event.port.size);
            }
    }

#if VM_TRACE
    // Opens and closes the recording.
    void record() {
        if (!waves) return;
        const bool within = waves_first <= cycle && cycle < waves_last;
        if (within && !waves->isOpen()) waves->open(waves_path.c_str());
        if (!within && waves->isOpen()) waves->close();
    }
#endif
};

// Systems that are linked in a ring, and the threads that run them.
class Ring {
  public:
    Ring(Simulator *const *systems, unsigned count, uint64_t delay, unsigned threads)
        : systems{systems, systems + count}, delay{delay},
          begin{std::max(1u, std::min(threads, count))},
          end{std::max(1u, std::min(threads, count))} {
        for (unsigned core = 0; count > 1 && core < count; ++core) {
            Link &next = systems[core]->links[0], &back = systems[(core + 1) % count]->links[1];
            next.join(back, delay);
            back.join(next, delay);
        }
        for (unsigned thread = 1; thread < std::min(threads, count); ++thread)
            workers.emplace_back([this] { help(); });
    }

    ~Ring() {
        quit = true;
        if (!workers.empty()) begin.arrive_and_wait();
        for (std::thread &worker : workers) worker.join();
    }

    // Run all systems. A single one stops when its interrupt gets high, if that is asked for; a
    // ring in a cycle that does not depend on the threads.
    uint64_t run(uint64_t cycles, unsigned mask, int stop_at_interrupt) {
        for (Simulator *system : systems) {
            system->log.clear();
            system->take_inputs();
        }
        if (systems.size() == 1) return systems[0]->run(cycles, mask, stop_at_interrupt ? 1 : 0);
        for (uint64_t done = 0; done < cycles;) {
            piece = std::min(delay, cycles - done);
            events = mask;
            run_piece();
            done += piece;
            const auto raised = [](Simulator *system) { return system->top.system_interrupt; };
            if (stop_at_interrupt && std::any_of(systems.begin(), systems.end(), raised))
                return done;
        }
        return cycles;
    }

    // Nothing leaves a core in this direction from this cycle on, and nothing comes from there.
    void cut(unsigned core, unsigned direction, uint64_t cycle) {
        const unsigned count = systems.size();
        systems[core]->links[direction].cut = cycle;
        systems[(core + (direction ? count - 1 : 1)) % count]->links[1 - direction].cut = cycle;
    }

  private:
    // Cycles that are not worth to wake another thread.
    static constexpr uint64_t few = 4;

    void run_piece() {
        taken = 0;
        if (workers.empty() || piece < few) {
            work();
        } else {
            begin.arrive_and_wait();
            work();
            end.arrive_and_wait();
        }
    }

    void help() {
        while (begin.arrive_and_wait(), !quit) {
            work();
            end.arrive_and_wait();
        }
    }

    // Run systems that nobody has taken yet.
    void work() {
        for (size_t core; (core = taken++) < systems.size();) systems[core]->run(piece, events, 0);
    }

    std::vector<Simulator *> systems;
    uint64_t delay;
    uint64_t piece = 0;
    unsigned events = 0;
    std::atomic<size_t> taken = 0;
    bool quit = false;
    std::barrier<> begin, end;
    std::vector<std::thread> workers;
};

extern "C" {

Simulator *dfx_new(uint64_t kernel_period, uint64_t hbm_period) {
    return new Simulator{kernel_period, hbm_period};
}

void dfx_delete(Simulator *simulator) { delete simulator; }

// The port of a number, and its size in bytes; null behind the last one.
const char *dfx_port(Simulator *simulator, unsigned number, uint8_t **bytes, uint64_t *size) {
    if (number >= simulator->ports.size()) return nullptr;
    const Port &port = simulator->ports[number];
    *bytes = port.bytes;
    *size = port.size;
    return port.name;
}

// The widths of a hub's ports: 0 is that of HBM, 1 that of DDR.
void dfx_hub(Simulator *simulator, unsigned hub, unsigned address_width, unsigned data_bytes) {
    simulator->hubs[hub] = {address_width, data_bytes, {}};
}

// The next storage of a hub, and the numbers of the ports that read from it.
void dfx_storage(Simulator *simulator, unsigned hub, unsigned address, unsigned data,
                 uint8_t *bytes, uint64_t size, uint64_t beat) {
    const std::vector<Port> &ports = simulator->ports;
    simulator->hubs[hub].channels.push_back({ports[address], ports[data], {bytes, size, beat}});
}

// Come before the next edge of the kernel clock: the outputs are what that edge will see.
void dfx_approach(Simulator *simulator) {
    simulator->take_inputs();
    simulator->approach();
}

// The ports of a link: 0 leads to the next core, 1 to the one before.
void dfx_link(Simulator *simulator, unsigned direction, unsigned out, unsigned in) {
    simulator->links[direction].out = simulator->ports[out];
    simulator->links[direction].in = simulator->ports[in];
}

// An event to report: one bit of the port `events`, and the port that says more.
void dfx_event(Simulator *simulator, unsigned bit, unsigned port) {
    simulator->events.push_back({bit, simulator->ports[port]});
}

// Link systems whose ports are known; one of them is alone. They must live longer than the ring.
Ring *dfx_ring(Simulator *const *systems, unsigned count, uint64_t delay, unsigned threads) {
    return new Ring{systems, count, delay, threads};
}

void dfx_unlink(Ring *ring) { delete ring; }

// Cut a cable, from a cycle on.
void dfx_cut(Ring *ring, unsigned core, unsigned direction, uint64_t cycle) {
    ring->cut(core, direction, cycle);
}

// Run `cycles` kernel cycles, or fewer: if asked for, until the interrupt of a core is high.
// Returns how many it were. Only events whose bits are in `events` are reported.
uint64_t dfx_run(Ring *ring, uint64_t cycles, unsigned events, int stop_at_interrupt) {
    return ring->run(cycles, events, stop_at_interrupt);
}

// The size of what the last call of dfx_run has reported, and where it is: each event as a cycle,
// a bit, and the bytes of its port.
uint64_t dfx_log(Simulator *simulator, const uint8_t **bytes) {
    *bytes = simulator->log.data();
    return simulator->log.size();
}

// Record what the core does, from now on; to be called before the first cycle.
void dfx_profile(Simulator *simulator) { simulator->profiling = true; }

// How often the profile has changed, and where its changes are: the value in the lowest 24 bits,
// the cycle above them.
uint64_t dfx_profiled(Simulator *simulator, const uint64_t **words) {
    *words = simulator->profiled.data();
    return simulator->profiled.size();
}

#if VM_TRACE
// Record cycles `first` to before `last` of this run; to be called before the first cycle.
void dfx_waves(Simulator *simulator, const char *path, uint64_t first, uint64_t last) {
    simulator->waves_path = path;
    simulator->waves_first = first;
    simulator->waves_last = last;
    simulator->waves = std::make_unique<VerilatedVcdC>();
    simulator->top.trace(simulator->waves.get(), 99);
}
#endif

}  // extern "C"
