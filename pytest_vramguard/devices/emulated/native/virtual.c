/* Virtual memory: address ranges, physical memory of the card, and which is mapped where.
 *
 * Physical memory is charged to its card from its creation until nobody holds its handle and it is mapped nowhere. It is mapped
 * at one place at a time, and its bytes last as long as the mapping: what is mapped again reads as zero.
 */
#include "ledger.h"

#include <stdlib.h>
#include <string.h>

/* Address space to reserve from, for each byte of the card. PyTorch reserves 9/8 of the card for each expandable segment, one for
 * each stream, pool and size class; at most what leaves room for everything else in the 128 TiB of a process. */
#define RANGE_FACTOR 256
#define MOST_RANGE_BYTES ((size_t)32 << 40)

typedef struct {
    int device;
    size_t size_bytes;
    unsigned references; /* handles that were given out and not released */
    bool mapped;
    uint32_t turn; /* tells a handle from an older one with the same place in the table */
} physical;

static physical *memories;
static uint32_t memory_count, memory_capacity, first_unused; /* no place below first_unused is unused */
static arena *ranges;

/* ---- handles; the lock is held --------------------------------------------------------------------------------------------- */

static uint64_t handle_of(const physical *memory)
{
    return (uint64_t)memory->turn << 32 | (uint64_t)(memory - memories + 1);
}

static physical *memory_of(uint64_t handle)
{
    uint64_t place = (handle & UINT32_MAX) - 1;
    if (place >= memory_count || memories[place].references == 0 || memories[place].turn != handle >> 32)
        return NULL;
    return &memories[place];
}

static bool unused(const physical *memory) { return memory->references == 0 && !memory->mapped; }

/* A place for one more; NULL if the host has no memory. Places are used again, the lowest first. */
static physical *new_memory(void)
{
    while (first_unused < memory_count && !unused(&memories[first_unused]))
        first_unused++;
    if (first_unused < memory_count)
        return &memories[first_unused];
    if (memory_count == memory_capacity) {
        uint32_t capacity = memory_capacity ? memory_capacity * 2 : 64;
        physical *larger = realloc(memories, capacity * sizeof *larger);
        if (larger == NULL)
            return NULL;
        memories = larger;
        memory_capacity = capacity;
    }
    memories[memory_count] = (physical){.turn = 0};
    return &memories[memory_count++];
}

/* Gives memory back to the card once nobody can reach it any more; true if that is so. */
static bool settle(physical *memory)
{
    if (!unused(memory))
        return false;
    discharge(memory->device, memory->size_bytes);
    if (memory - memories < first_unused)
        first_unused = (uint32_t)(memory - memories);
    return true;
}

/* ---- ranges; the lock is held ---------------------------------------------------------------------------------------------- */

static entry *range_around(const void *address, size_t size_bytes)
{
    entry *range = entry_at(address);
    if (range == NULL || range->region.kind != VG_RESERVED)
        return NULL;
    size_t offset = (uintptr_t)address - range->region.base;
    bool whole = offset % GRANULE == 0 && size_bytes % GRANULE == 0 && size_bytes > 0;
    return whole && size_bytes <= range->region.size_bytes - offset ? range : NULL;
}

/* Index of the first granule of a stretch of `range`, and of the first after it. */
static size_t first_of(const entry *range, uintptr_t address) { return (address - range->region.base) / GRANULE; }
static size_t end_of(const entry *range, uintptr_t address, size_t size_bytes)
{
    return (address - range->region.base + size_bytes - 1) / GRANULE + 1;
}

bool mapped_for(const entry *range, uintptr_t address, size_t size_bytes, bool writing)
{
    uint8_t needed = writing ? VG_READ_WRITE : VG_READ;
    for (size_t i = first_of(range, address); i < end_of(range, address, size_bytes); i++)
        if (range->mapped.memory[i] == 0 || (range->mapped.access[i] & needed) != needed)
            return false;
    return true;
}

bool mapping_at(const entry *range, uintptr_t address, vg_region *found)
{
    size_t first = first_of(range, address), end = first, last = range->region.size_bytes / GRANULE;
    uint32_t place = range->mapped.memory[first];
    if (place == 0)
        return false;
    while (first > 0 && range->mapped.memory[first - 1] == place)
        first--;
    while (end < last && range->mapped.memory[end] == place)
        end++;
    size_t size_bytes = (end - first) * GRANULE;
    *found = (vg_region){range->region.base + first * GRANULE, size_bytes, size_bytes, VG_DEVICE, memories[place - 1].device};
    return true;
}

static vg_status reserve(size_t size_bytes, size_t alignment, void **address)
{
    size_t total = round_up(vg_the_card()->total_bytes, GRANULE);
    size_t arena_bytes = total < MOST_RANGE_BYTES / RANGE_FACTOR ? total * RANGE_FACTOR : MOST_RANGE_BYTES;
    if (ranges == NULL || ranges->size_bytes < arena_bytes)
        ranges = make_arena(arena_bytes);
    uintptr_t base = ranges != NULL ? lowest_gap(ranges, size_bytes, alignment) : 0;
    if (base == 0)
        return VG_OUT_OF_MEMORY; /* as a process that has no addresses left */
    mappings none = {calloc(size_bytes / GRANULE, sizeof *none.memory), calloc(size_bytes / GRANULE, 1)};
    entry added = {{base, size_bytes, 0, VG_RESERVED, 0}, size_bytes, ranges, NULL, none};
    if (none.memory == NULL || none.access == NULL || !insert(added)) {
        free(none.memory);
        free(none.access);
        return VG_HOST_EXHAUSTED;
    }
    *address = (void *)base;
    return VG_OK;
}

/* ---- ranges ---------------------------------------------------------------------------------------------------------------- */

vg_status vg_reserve(size_t size_bytes, size_t alignment, void **address)
{
    if (size_bytes == 0 || size_bytes % GRANULE != 0 || (alignment & (alignment - 1)) != 0)
        return VG_BAD_ADDRESS;
    if (size_bytes > MOST_RANGE_BYTES || alignment > MOST_RANGE_BYTES)
        return VG_OUT_OF_MEMORY;
    pthread_mutex_lock(&ledger_lock);
    vg_status status = reserve(size_bytes, alignment > GRANULE ? alignment : GRANULE, address);
    pthread_mutex_unlock(&ledger_lock);
    return status;
}

vg_status vg_unreserve(void *address, size_t size_bytes)
{
    pthread_mutex_lock(&ledger_lock);
    entry *range = range_around(address, size_bytes);
    bool whole = range != NULL && range->region.base == (uintptr_t)address && range->region.size_bytes == size_bytes;
    for (size_t i = 0; whole && i < size_bytes / GRANULE; i++)
        whole = range->mapped.memory[i] == 0;
    if (whole) {
        free(range->mapped.memory);
        free(range->mapped.access);
        erase(range);
    }
    pthread_mutex_unlock(&ledger_lock);
    return whole ? VG_OK : VG_BAD_ADDRESS;
}

/* ---- physical memory ------------------------------------------------------------------------------------------------------- */

vg_status vg_create_memory(int device, size_t size_bytes, uint64_t *handle)
{
    if (size_bytes == 0 || size_bytes % GRANULE != 0)
        return VG_BAD_ADDRESS;
    pthread_mutex_lock(&ledger_lock);
    vg_status status = charge(device, size_bytes) ? VG_OK : VG_OUT_OF_MEMORY;
    physical *made = status == VG_OK ? new_memory() : NULL;
    if (made != NULL) {
        *made = (physical){device, size_bytes, 1, false, made->turn + 1};
        *handle = handle_of(made);
    } else if (status == VG_OK) {
        discharge(device, size_bytes);
        status = VG_HOST_EXHAUSTED;
    }
    pthread_mutex_unlock(&ledger_lock);
    vg_count(VG_DRIVER_ALLOCATIONS, status == VG_OK);
    return status;
}

vg_status vg_release_memory(uint64_t handle)
{
    pthread_mutex_lock(&ledger_lock);
    physical *memory = memory_of(handle);
    bool gone = false;
    if (memory != NULL) {
        memory->references--;
        gone = settle(memory);
    }
    pthread_mutex_unlock(&ledger_lock);
    vg_count(VG_DRIVER_FREES, gone);
    return memory != NULL ? VG_OK : VG_BAD_ADDRESS;
}

vg_status vg_retain_memory(const void *address, uint64_t *handle)
{
    pthread_mutex_lock(&ledger_lock);
    const entry *range = entry_at(address);
    uint32_t place = 0;
    if (range != NULL && range->region.kind == VG_RESERVED)
        place = range->mapped.memory[first_of(range, (uintptr_t)address)];
    if (place != 0) {
        memories[place - 1].references++;
        *handle = handle_of(&memories[place - 1]);
    }
    pthread_mutex_unlock(&ledger_lock);
    return place != 0 ? VG_OK : VG_BAD_ADDRESS;
}

bool vg_memory_device(uint64_t handle, int *device)
{
    pthread_mutex_lock(&ledger_lock);
    const physical *memory = memory_of(handle);
    if (memory != NULL)
        *device = memory->device;
    pthread_mutex_unlock(&ledger_lock);
    return memory != NULL;
}

/* ---- mappings -------------------------------------------------------------------------------------------------------------- */

vg_status vg_map(void *address, size_t size_bytes, uint64_t handle)
{
    pthread_mutex_lock(&ledger_lock);
    entry *range = range_around(address, size_bytes);
    physical *memory = memory_of(handle);
    bool good = range != NULL && memory != NULL && !memory->mapped && size_bytes <= memory->size_bytes;
    size_t first = good ? first_of(range, (uintptr_t)address) : 0, end = first + size_bytes / GRANULE;
    for (size_t i = first; good && i < end; i++)
        good = range->mapped.memory[i] == 0;
    for (size_t i = first; good && i < end; i++) {
        range->mapped.memory[i] = (uint32_t)(memory - memories + 1);
        range->mapped.access[i] = VG_NO_ACCESS;
    }
    if (good)
        memory->mapped = true;
    pthread_mutex_unlock(&ledger_lock);
    return good ? VG_OK : VG_BAD_ADDRESS;
}

/* Whether a stretch is mapped from end to end and cuts no mapping in two. */
static bool whole_mappings(const entry *range, size_t first, size_t end)
{
    const uint32_t *memory = range->mapped.memory;
    for (size_t i = first; i < end; i++)
        if (memory[i] == 0)
            return false;
    return (first == 0 || memory[first - 1] != memory[first]) &&
           (end == range->region.size_bytes / GRANULE || memory[end] != memory[end - 1]);
}

vg_status vg_unmap(void *address, size_t size_bytes)
{
    uint64_t gone = 0;
    pthread_mutex_lock(&ledger_lock);
    entry *range = range_around(address, size_bytes);
    size_t first = range != NULL ? first_of(range, (uintptr_t)address) : 0, end = first + size_bytes / GRANULE;
    bool good = range != NULL && whole_mappings(range, first, end);
    for (size_t i = first; good && i < end; i++) {
        physical *memory = &memories[range->mapped.memory[i] - 1];
        bool last_of_it = i + 1 == end || range->mapped.memory[i + 1] != range->mapped.memory[i];
        range->mapped.memory[i] = 0;
        range->mapped.access[i] = VG_NO_ACCESS;
        if (last_of_it) {
            memory->mapped = false;
            gone += settle(memory);
        }
    }
    if (good)
        discard(range->home, (uintptr_t)address, size_bytes);
    pthread_mutex_unlock(&ledger_lock);
    vg_count(VG_DRIVER_FREES, gone);
    return good ? VG_OK : VG_BAD_ADDRESS;
}

vg_status vg_set_access(void *address, size_t size_bytes, vg_access access)
{
    pthread_mutex_lock(&ledger_lock);
    entry *range = range_around(address, size_bytes);
    size_t first = range != NULL ? first_of(range, (uintptr_t)address) : 0, end = first + size_bytes / GRANULE;
    bool good = range != NULL && whole_mappings(range, first, end);
    if (good)
        memset(range->mapped.access + first, (int)access, end - first);
    pthread_mutex_unlock(&ledger_lock);
    return good ? VG_OK : VG_BAD_ADDRESS;
}

bool vg_access_of(const void *address, vg_access *access)
{
    pthread_mutex_lock(&ledger_lock);
    const entry *range = entry_at(address);
    bool known = range != NULL && range->region.kind == VG_RESERVED;
    if (known)
        *access = (vg_access)range->mapped.access[first_of(range, (uintptr_t)address)];
    pthread_mutex_unlock(&ledger_lock);
    return known;
}
