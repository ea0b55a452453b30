/* Device, managed and pinned memory: who holds what, and how much of the card is used.
 *
 * Device memory is address space, not memory: an arena is reserved with no access, and a granule of a region becomes readable
 * and writable only when something small is written there. Weights and activations of any size therefore cost nothing.
 */
#include "ledger.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Room in the arena for each byte of the card, so that gaps between regions never make an allocation fail.
 * Source: Knuth, The Art of Computer Programming, volume 1, exercise 2.5-43: first fit needs at most H(m) / ln 2 times the memory
 * that is in use, m being the largest request in granules. 19.7 for m = 2^19, that is for a region of 1 TiB. */
#define ARENA_FACTOR 20

typedef struct {
    uintptr_t base;
    size_t size_bytes;
} arena;

pthread_mutex_t ledger_lock = PTHREAD_MUTEX_INITIALIZER;
static entry *entries; /* sorted by base; no two overlap */
static size_t entry_count, entry_capacity;
static arena arenas[VG_MAX_CARDS];
static uint64_t device_bytes[VG_MAX_CARDS], managed_bytes[VG_MAX_CARDS], peak_bytes[VG_MAX_CARDS];

static void take_lock(void) { pthread_mutex_lock(&ledger_lock); }
static void give_lock(void) { pthread_mutex_unlock(&ledger_lock); }

/* A fork waits until no thread is half-way through a change of the books. */
__attribute__((constructor)) static void survive_fork(void) { pthread_atfork(take_lock, give_lock, give_lock); }

static size_t round_up(size_t size_bytes)
{
    return (size_bytes + GRANULE - 1) / GRANULE * GRANULE;
}

/* ---- usage; the lock is held ---------------------------------------------------------------------------------------------- */

static vg_usage usage(int device)
{
    const vg_card *card = vg_the_card();
    uint64_t used = card->context_bytes + device_bytes[device];
    uint64_t room = card->total_bytes - used;
    uint64_t resident = managed_bytes[device] < room ? managed_bytes[device] : room;
    return (vg_usage){card->total_bytes, used, resident, peak_bytes[device]};
}

static void note_peak(int device)
{
    vg_usage now = usage(device);
    if (now.used_bytes + now.managed_bytes > peak_bytes[device])
        peak_bytes[device] = now.used_bytes + now.managed_bytes;
}

/* ---- the sorted table; the lock is held ----------------------------------------------------------------------------------- */

/* Index of the first entry whose base is above `address`. */
static size_t above(uintptr_t address)
{
    size_t low = 0, high = entry_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (entries[middle].region.base > address)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

entry *entry_at(const void *address)
{
    size_t index = above((uintptr_t)address);
    if (index == 0)
        return NULL;
    entry *candidate = &entries[index - 1];
    return (uintptr_t)address - candidate->region.base < candidate->region.size_bytes ? candidate : NULL;
}

bool inside(const entry *within, const void *address, size_t size_bytes)
{
    size_t offset = (uintptr_t)address - within->region.base;
    return offset <= within->region.size_bytes && size_bytes <= within->region.size_bytes - offset;
}

/* Whether any byte of [base, base + size), which must not wrap, is in a region. */
static bool taken(uintptr_t base, size_t size_bytes)
{
    size_t next = above(base);
    return entry_at((void *)base) != NULL || (next < entry_count && entries[next].region.base - base < size_bytes);
}

static bool insert(entry added)
{
    if (entry_count == entry_capacity) {
        size_t capacity = entry_capacity ? entry_capacity * 2 : 256;
        entry *larger = realloc(entries, capacity * sizeof *larger);
        if (larger == NULL)
            return false;
        entries = larger;
        entry_capacity = capacity;
    }
    size_t index = above(added.region.base);
    memmove(entries + index + 1, entries + index, (entry_count - index) * sizeof *entries);
    entries[index] = added;
    entry_count++;
    return true;
}

static void erase(entry *gone)
{
    size_t index = (size_t)(gone - entries);
    memmove(gone, gone + 1, (entry_count - index - 1) * sizeof *entries);
    entry_count--;
}

/* ---- the arena; the lock is held ------------------------------------------------------------------------------------------ */

static bool reserve_arena(int device)
{
    size_t size_bytes = round_up(vg_the_card()->total_bytes) * ARENA_FACTOR;
    if (arenas[device].size_bytes >= size_bytes)
        return true;
    void *base = mmap(NULL, size_bytes + GRANULE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return false;
    /* A smaller arena of an earlier card is empty by now (vg_place), but costs only address space: it is left alone. */
    arenas[device] = (arena){round_up((size_t)base), size_bytes};
    return true;
}

bool in_arena(uintptr_t base, size_t size_bytes)
{
    for (int device = 0; device < VG_MAX_CARDS; device++)
        if (base < arenas[device].base + arenas[device].size_bytes && arenas[device].base < base + size_bytes)
            return true;
    return false;
}

/* Lowest free address with room for `span_bytes`, or 0. */
static uintptr_t lowest_gap(const arena *within, size_t span_bytes)
{
    uintptr_t at = within->base, end = within->base + within->size_bytes;
    for (size_t i = above(within->base - 1); i < entry_count && entries[i].region.base < end; i++) {
        if (entries[i].region.base - at >= span_bytes)
            return at;
        at = entries[i].region.base + entries[i].span_bytes;
    }
    return end - at >= span_bytes ? at : 0;
}

static vg_status allocate_device(int device, size_t size_bytes, void **address)
{
    if (size_bytes > vg_the_card()->total_bytes)
        return VG_OUT_OF_MEMORY;
    size_t span = round_up(size_bytes);
    if (usage(device).used_bytes + span > vg_the_card()->total_bytes)
        return VG_OUT_OF_MEMORY;
    if (!reserve_arena(device))
        return VG_HOST_EXHAUSTED;
    entry added = {{lowest_gap(&arenas[device], span), size_bytes, span, VG_DEVICE, device}, span, NULL};
    added.written = calloc(span / GRANULE, 1);
    if (added.region.base == 0 || added.written == NULL || !insert(added)) {
        free(added.written);
        return VG_HOST_EXHAUSTED;
    }
    device_bytes[device] += span;
    note_peak(device);
    *address = (void *)added.region.base;
    return VG_OK;
}

static vg_status allocate_host(vg_kind kind, int device, size_t size_bytes, void **address)
{
    if (size_bytes > SIZE_MAX - GRANULE)
        return VG_HOST_EXHAUSTED; /* it cannot be rounded up */
    size_t span = round_up(size_bytes);
    void *base = mmap(NULL, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return VG_HOST_EXHAUSTED;
    if (!insert((entry){{(uintptr_t)base, size_bytes, 0, kind, device}, span, NULL})) {
        munmap(base, span);
        return VG_HOST_EXHAUSTED;
    }
    if (kind == VG_MANAGED) {
        managed_bytes[device] += size_bytes;
        note_peak(device);
    }
    *address = base;
    return VG_OK;
}

/* Gives back the real bytes of device memory and makes it inaccessible again. */
static void discard(const entry *gone)
{
    void *base = (void *)gone->region.base;
    if (mmap(base, gone->span_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
        madvise(base, gone->span_bytes, MADV_DONTNEED); /* accessible still, but empty for the next region */
}

/* ---- allocation ----------------------------------------------------------------------------------------------------------- */

vg_status vg_allocate(vg_kind kind, int device, size_t size_bytes, void **address)
{
    *address = NULL;
    if (size_bytes == 0)
        return VG_OK; /* as cudaMalloc: success and a null pointer */
    pthread_mutex_lock(&ledger_lock);
    vg_status status = kind == VG_DEVICE ? allocate_device(device, size_bytes, address)
                                         : allocate_host(kind, device, size_bytes, address);
    pthread_mutex_unlock(&ledger_lock);
    vg_count(VG_DRIVER_ALLOCATIONS, status == VG_OK && kind == VG_DEVICE);
    return status;
}

static void release(entry *gone)
{
    switch (gone->region.kind) {
    case VG_DEVICE:
        discard(gone);
        device_bytes[gone->region.device] -= gone->span_bytes;
        free(gone->written);
        break;
    case VG_MANAGED:
        managed_bytes[gone->region.device] -= gone->region.size_bytes;
        munmap((void *)gone->region.base, gone->span_bytes);
        break;
    case VG_PINNED: munmap((void *)gone->region.base, gone->span_bytes); break;
    case VG_REGISTERED: break; /* the caller's own memory */
    }
    erase(gone);
}

vg_status vg_release(vg_kind kind, void *address)
{
    if (address == NULL)
        return VG_OK;
    pthread_mutex_lock(&ledger_lock);
    entry *found = entry_at(address);
    bool freeable = found != NULL && found->region.base == (uintptr_t)address &&
                    (found->region.kind == kind || (kind == VG_DEVICE && found->region.kind == VG_MANAGED));
    bool from_device = freeable && found->region.kind == VG_DEVICE;
    if (freeable)
        release(found);
    pthread_mutex_unlock(&ledger_lock);
    vg_count(VG_DRIVER_FREES, from_device);
    return freeable ? VG_OK : VG_BAD_ADDRESS;
}

vg_status vg_register_host(void *address, size_t size_bytes)
{
    uintptr_t base = (uintptr_t)address;
    if (address == NULL || size_bytes == 0 || size_bytes > UINTPTR_MAX - base)
        return VG_BAD_ADDRESS;
    pthread_mutex_lock(&ledger_lock);
    vg_status status = VG_BAD_ADDRESS;
    if (!taken(base, size_bytes) && !in_arena(base, size_bytes))
        status = insert((entry){{base, size_bytes, 0, VG_REGISTERED, 0}, size_bytes, NULL}) ? VG_OK : VG_HOST_EXHAUSTED;
    pthread_mutex_unlock(&ledger_lock);
    return status;
}

vg_status vg_unregister_host(void *address)
{
    return address == NULL ? VG_BAD_ADDRESS : vg_release(VG_REGISTERED, address);
}

bool vg_find(const void *address, vg_region *found)
{
    pthread_mutex_lock(&ledger_lock);
    entry *hit = entry_at(address);
    if (hit != NULL)
        *found = hit->region;
    pthread_mutex_unlock(&ledger_lock);
    return hit != NULL;
}

vg_usage vg_usage_of(int device)
{
    pthread_mutex_lock(&ledger_lock);
    vg_usage now = usage(device);
    pthread_mutex_unlock(&ledger_lock);
    return now;
}

void vg_reset_peak(void)
{
    pthread_mutex_lock(&ledger_lock);
    for (int device = 0; device < VG_MAX_CARDS; device++) {
        peak_bytes[device] = 0;
        note_peak(device);
    }
    pthread_mutex_unlock(&ledger_lock);
}
