/* Device, managed and pinned memory: who holds what, and how much of the card is used.
 *
 * Device memory is address space, not memory: an arena is reserved with no access, and a granule of a region becomes readable
 * and writable only when something small is written there. Weights and activations of any size therefore cost nothing.
 */
#include "core.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* cudaMalloc takes memory from the driver in blocks of 2 MiB: cudaMemGetInfo moves in these steps. */
#define GRANULE ((size_t)2 << 20)
/* Room in the arena for each byte of the card, so that gaps between regions never make an allocation fail.
 * Source: Knuth, The Art of Computer Programming, volume 1, exercise 2.5-43: first fit needs at most H(m) / ln 2 times the memory
 * that is in use, m being the largest request in granules. 19.7 for m = 2^19, that is for a region of 1 TiB. */
#define ARENA_FACTOR 20

typedef struct {
    vg_region region;
    size_t span_bytes; /* address space that the region takes: size rounded up to granules */
    uint8_t *written;  /* one flag a granule of device memory: readable, holds real bytes */
} entry;

typedef struct {
    uintptr_t base;
    size_t size_bytes;
} arena;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static entry *entries; /* sorted by base; no two overlap */
static size_t entry_count, entry_capacity;
static arena arenas[VG_MAX_CARDS];
static uint64_t device_bytes[VG_MAX_CARDS], managed_bytes[VG_MAX_CARDS], peak_bytes[VG_MAX_CARDS];

static void take_lock(void) { pthread_mutex_lock(&lock); }
static void give_lock(void) { pthread_mutex_unlock(&lock); }

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

static entry *entry_at(const void *address)
{
    size_t index = above((uintptr_t)address);
    if (index == 0)
        return NULL;
    entry *candidate = &entries[index - 1];
    return (uintptr_t)address - candidate->region.base < candidate->region.size_bytes ? candidate : NULL;
}

static bool inside(const entry *within, const void *address, size_t size_bytes)
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

/* Whether any byte of [base, base + size), which must not wrap, can only be device memory. */
static bool in_arena(uintptr_t base, size_t size_bytes)
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
    pthread_mutex_lock(&lock);
    vg_status status = kind == VG_DEVICE ? allocate_device(device, size_bytes, address)
                                         : allocate_host(kind, device, size_bytes, address);
    pthread_mutex_unlock(&lock);
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
    pthread_mutex_lock(&lock);
    entry *found = entry_at(address);
    bool freeable = found != NULL && found->region.base == (uintptr_t)address &&
                    (found->region.kind == kind || (kind == VG_DEVICE && found->region.kind == VG_MANAGED));
    bool from_device = freeable && found->region.kind == VG_DEVICE;
    if (freeable)
        release(found);
    pthread_mutex_unlock(&lock);
    vg_count(VG_DRIVER_FREES, from_device);
    return freeable ? VG_OK : VG_BAD_ADDRESS;
}

vg_status vg_register_host(void *address, size_t size_bytes)
{
    uintptr_t base = (uintptr_t)address;
    if (address == NULL || size_bytes == 0 || size_bytes > UINTPTR_MAX - base)
        return VG_BAD_ADDRESS;
    pthread_mutex_lock(&lock);
    vg_status status = VG_BAD_ADDRESS;
    if (!taken(base, size_bytes) && !in_arena(base, size_bytes))
        status = insert((entry){{base, size_bytes, 0, VG_REGISTERED, 0}, size_bytes, NULL}) ? VG_OK : VG_HOST_EXHAUSTED;
    pthread_mutex_unlock(&lock);
    return status;
}

vg_status vg_unregister_host(void *address)
{
    return address == NULL ? VG_BAD_ADDRESS : vg_release(VG_REGISTERED, address);
}

bool vg_find(const void *address, vg_region *found)
{
    pthread_mutex_lock(&lock);
    entry *hit = entry_at(address);
    if (hit != NULL)
        *found = hit->region;
    pthread_mutex_unlock(&lock);
    return hit != NULL;
}

vg_usage vg_usage_of(int device)
{
    pthread_mutex_lock(&lock);
    vg_usage now = usage(device);
    pthread_mutex_unlock(&lock);
    return now;
}

void vg_reset_peak(void)
{
    pthread_mutex_lock(&lock);
    for (int device = 0; device < VG_MAX_CARDS; device++) {
        peak_bytes[device] = 0;
        note_peak(device);
    }
    pthread_mutex_unlock(&lock);
}

/* ---- contents; the lock is held ------------------------------------------------------------------------------------------- */

/* Finds the region, if any, of bytes to be copied or filled. False if they run out of it, or are of no region and cannot be host
 * memory either. */
static bool locate(const void *address, size_t size_bytes, entry **found)
{
    *found = entry_at(address);
    if (*found != NULL)
        return inside(*found, address, size_bytes);
    return address != NULL && !in_arena((uintptr_t)address, 1);
}

static bool on_card(const entry *where)
{
    return where != NULL && where->region.kind == VG_DEVICE;
}

/* Acts on the stretch of some device bytes that lies in one granule. False if the host has no memory to give. */
typedef bool granule_act(entry *within, size_t granule, char *at, size_t size_bytes, size_t offset, void *other);

static bool for_each_granule(entry *within, const char *address, size_t size_bytes, granule_act *act, void *other)
{
    for (size_t done = 0; done < size_bytes;) {
        size_t from_base = (uintptr_t)address + done - within->region.base;
        size_t stretch = GRANULE - from_base % GRANULE;
        if (stretch > size_bytes - done)
            stretch = size_bytes - done;
        if (!act(within, from_base / GRANULE, (char *)within->region.base + from_base, stretch, done, other))
            return false;
        done += stretch;
    }
    return true;
}

static bool write_granule(entry *within, size_t granule, char *at, size_t size_bytes, size_t offset, void *from)
{
    if (!within->written[granule]) {
        void *base = (char *)within->region.base + granule * GRANULE;
        if (mprotect(base, GRANULE, PROT_READ | PROT_WRITE) != 0)
            return false;
        within->written[granule] = 1;
    }
    memcpy(at, (const char *)from + offset, size_bytes);
    return true;
}

static bool read_granule(entry *within, size_t granule, char *at, size_t size_bytes, size_t offset, void *to)
{
    if (within->written[granule])
        memcpy((char *)to + offset, at, size_bytes);
    else
        memset((char *)to + offset, 0, size_bytes);
    return true;
}

/* Large data is not kept: what it overwrites reads as zero from now on. */
static bool clear_granule(entry *within, size_t granule, char *at, size_t size_bytes, size_t offset, void *unused)
{
    (void)offset;
    (void)unused;
    if (!within->written[granule])
        return true;
    if (size_bytes == GRANULE)
        madvise(at, size_bytes, MADV_DONTNEED);
    else
        memset(at, 0, size_bytes);
    return true;
}

static bool clear(entry *target, const char *to, size_t size_bytes)
{
    return for_each_granule(target, to, size_bytes, clear_granule, NULL);
}

/* Zeroes host memory without touching pages that are zero already, so that a fresh buffer stays uncommitted. */
static void zero_host(char *to, size_t size_bytes)
{
    static const char zeros[4096];
    for (size_t done = 0; done < size_bytes; done += sizeof zeros) {
        size_t stretch = size_bytes - done < sizeof zeros ? size_bytes - done : sizeof zeros;
        if (memcmp(to + done, zeros, stretch) != 0)
            memset(to + done, 0, stretch);
    }
}

static bool blank(const entry *source, const char *from, size_t size_bytes)
{
    size_t offset = (uintptr_t)from - source->region.base;
    for (size_t granule = offset / GRANULE; granule <= (offset + size_bytes - 1) / GRANULE; granule++)
        if (source->written[granule])
            return false;
    return true;
}

static bool copy_on_card(entry *target, const char *to, entry *source, const char *from, size_t size_bytes)
{
    if (blank(source, from, size_bytes))
        return clear(target, to, size_bytes);
    char *bytes = malloc(size_bytes); /* the two may overlap */
    if (bytes == NULL)
        return false;
    for_each_granule(source, from, size_bytes, read_granule, bytes);
    bool written = for_each_granule(target, to, size_bytes, write_granule, bytes);
    free(bytes);
    return written;
}

/* Copies one row; `kept` says whether device bytes are worth keeping. False if the host has no memory to give. */
static bool copy_row(entry *target, char *to, entry *source, const char *from, size_t size_bytes, bool kept)
{
    if (on_card(target) && !kept)
        return clear(target, to, size_bytes);
    if (on_card(target) && on_card(source))
        return copy_on_card(target, to, source, from, size_bytes);
    if (on_card(target))
        return for_each_granule(target, to, size_bytes, write_granule, (void *)from);
    if (on_card(source) && !kept)
        zero_host(to, size_bytes);
    else if (on_card(source))
        for_each_granule(source, from, size_bytes, read_granule, to);
    else
        memmove(to, from, size_bytes);
    return true;
}

/* Bytes from the start of the first row to the end of the last; false if rows overlap, or no process has so many. */
static bool extent_of(size_t pitch, size_t row_bytes, size_t rows, size_t *extent_bytes)
{
    return row_bytes <= pitch && !__builtin_mul_overflow(pitch, rows - 1, extent_bytes) &&
           !__builtin_add_overflow(*extent_bytes, row_bytes, extent_bytes);
}

static void repeat(char *to, const char *pattern, size_t pattern_bytes, size_t size_bytes)
{
    if (pattern_bytes == 1) {
        memset(to, pattern[0], size_bytes);
        return;
    }
    for (size_t at = 0; at < size_bytes; at++)
        to[at] = pattern[at % pattern_bytes];
}

static bool fill_on_card(entry *target, const char *to, const char *pattern, size_t pattern_bytes, size_t size_bytes)
{
    if (size_bytes > VG_REAL_BYTES)
        return clear(target, to, size_bytes);
    char *bytes = malloc(size_bytes);
    if (bytes == NULL)
        return false;
    repeat(bytes, pattern, pattern_bytes, size_bytes);
    bool written = for_each_granule(target, to, size_bytes, write_granule, bytes);
    free(bytes);
    return written;
}

/* ---- contents ------------------------------------------------------------------------------------------------------------- */

vg_status vg_copy(void *to, const void *from, size_t size_bytes)
{
    return vg_copy_rows(to, size_bytes, from, size_bytes, size_bytes, 1);
}

vg_status vg_copy_rows(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t row_bytes, size_t rows)
{
    size_t to_extent, from_extent;
    if (row_bytes == 0 || rows == 0)
        return VG_OK;
    if (!extent_of(to_pitch, row_bytes, rows, &to_extent) || !extent_of(from_pitch, row_bytes, rows, &from_extent))
        return VG_BAD_ADDRESS;
    size_t size_bytes = row_bytes * rows; /* at most an extent */
    bool kept = size_bytes <= VG_REAL_BYTES;
    entry *target, *source;
    pthread_mutex_lock(&lock);
    bool good = locate(to, to_extent, &target) && locate(from, from_extent, &source), copied = good;
    bool to_card = good && on_card(target) && !on_card(source), to_host = good && on_card(source) && !on_card(target);
    for (size_t row = 0; row < rows && copied; row++)
        copied = copy_row(target, (char *)to + row * to_pitch, source, (const char *)from + row * from_pitch, row_bytes, kept);
    pthread_mutex_unlock(&lock);
    vg_count(VG_BYTES_TO_DEVICE, to_card && copied ? size_bytes : 0);
    vg_count(VG_BYTES_TO_HOST, to_host && copied ? size_bytes : 0);
    return !good ? VG_BAD_ADDRESS : copied ? VG_OK : VG_HOST_EXHAUSTED;
}

vg_status vg_fill(void *to, const void *pattern, size_t pattern_bytes, size_t size_bytes)
{
    if (size_bytes == 0)
        return VG_OK;
    entry *target;
    pthread_mutex_lock(&lock);
    bool good = locate(to, size_bytes, &target) && target != NULL, filled = good;
    if (good && on_card(target))
        filled = fill_on_card(target, to, pattern, pattern_bytes, size_bytes);
    else if (good)
        repeat(to, pattern, pattern_bytes, size_bytes);
    pthread_mutex_unlock(&lock);
    return !good ? VG_BAD_ADDRESS : filled ? VG_OK : VG_HOST_EXHAUSTED;
}
