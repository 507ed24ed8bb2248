// A caching allocator for libtorch's CPU tensors.
//
// A train step makes and drops the same tensors, tens of megabytes, over and over. glibc gives that memory back to the
// kernel each time, from the arenas of engine threads almost always, and the page faults of getting it again took a
// third of a step. Here every thread keeps the blocks it freed, by size, and takes them again. Blocks are 64-byte
// aligned whatever their history, so a kernel's choice by alignment is always the same.
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>

#include <array>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "allocator.h"

namespace {

// Of blocks, and the bytes in front of the data that hold the block's class.
constexpr std::size_t alignment = 64;
// Smaller blocks are left to malloc, which keeps them.
constexpr std::size_t smallest_kept = 4096;
// Most bytes that one thread keeps unused; beyond, blocks go back to malloc.
constexpr std::size_t most_kept = std::size_t{1} << 30;
// Four sizes to each power of two: at most a fifth of a block is unused.
constexpr unsigned classes = 4 * 64;

unsigned class_of(std::size_t bytes) {
    const unsigned power = std::bit_width(bytes - 1) - 1;
    const std::size_t quarter = std::size_t{1} << (power - 2);
    return power * 4 + static_cast<unsigned>((bytes - 1 - (std::size_t{1} << power)) / quarter);
}

std::size_t size_of_class(unsigned index) {
    const std::size_t power = std::size_t{1} << (index / 4);
    return power + power / 4 * (index % 4 + 1);
}

struct Header {
    // `classes` for a block that is not kept.
    unsigned index;
};

void* start_of(void* data) { return static_cast<char*>(data) - alignment; }

struct Cache {
    std::array<std::vector<void*>, classes> free;
    std::size_t kept = 0;

    ~Cache();
};

// True once the thread's cache is gone: tensors may be dropped by later destructors.
thread_local bool ended = false;
thread_local Cache cache;

Cache::~Cache() {
    ended = true;
    for (auto& blocks : free)
        for (void* data : blocks) std::free(start_of(data));
}

void* fresh(std::size_t bytes, unsigned index) {
    void* start = nullptr;
    if (posix_memalign(&start, alignment, bytes + alignment) != 0)
        TORCH_CHECK_WITH(OutOfMemoryError, false, "no memory for a tensor of ", bytes, " bytes");
    static_cast<Header*>(start)->index = index;
    return static_cast<char*>(start) + alignment;
}

void* take(std::size_t bytes) {
    if (bytes < smallest_kept || ended) return fresh(bytes, classes);
    const unsigned index = class_of(bytes);
    if (index >= classes) return fresh(bytes, classes);
    auto& blocks = cache.free[index];
    if (blocks.empty()) return fresh(size_of_class(index), index);
    void* data = blocks.back();
    blocks.pop_back();
    cache.kept -= size_of_class(index);
    return data;
}

void give(void* data) {
    if (data == nullptr) return;
    const unsigned index = static_cast<Header*>(start_of(data))->index;
    if (index < classes && !ended && cache.kept + size_of_class(index) <= most_kept) {
        try {
            cache.free[index].push_back(data);
            cache.kept += size_of_class(index);
            return;
        } catch (const std::bad_alloc&) {
            // Not kept, then.
        }
    }
    std::free(start_of(data));
}

class CachingAllocator final : public c10::Allocator {
public:
    c10::DataPtr allocate(std::size_t bytes) override {
        void* data = bytes == 0 ? nullptr : take(bytes);
        return {data, data, &give, c10::Device(c10::DeviceType::CPU)};
    }

    c10::DeleterFnPtr raw_deleter() const override { return &give; }

    void copy_data(void* to, const void* from, std::size_t bytes) const override { std::memcpy(to, from, bytes); }
};

}  // namespace

void lockstep_install_allocator() {
    // Never destroyed: tensors of other threads may outlive static destructors.
    static auto* const allocator = new CachingAllocator;
    c10::SetCPUAllocator(allocator, 1);
}
