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
/* Room in the arena for each byte of the card, so that gaps between regions never make an allocation fail. */
#define ARENA_FACTOR 4

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
    mmap((void *)gone->region.base, gone->span_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
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
    vg_count(VG_DRIVER_ALLOCATIONS, kind == VG_DEVICE);
    return status;
}

static vg_status release(entry *gone)
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
    return VG_OK;
}

vg_status vg_release(vg_kind kind, void *address)
{
    if (address == NULL)
        return VG_OK;
    pthread_mutex_lock(&lock);
    entry *found = entry_at(address);
    bool freeable = found != NULL && found->region.base == (uintptr_t)address &&
                    (found->region.kind == kind || (kind == VG_DEVICE && found->region.kind == VG_MANAGED));
    vg_status status = freeable ? release(found) : VG_BAD_ADDRESS;
    pthread_mutex_unlock(&lock);
    vg_count(VG_DRIVER_FREES, status == VG_OK && kind == VG_DEVICE);
    return status;
}

vg_status vg_register_host(void *address, size_t size_bytes)
{
    pthread_mutex_lock(&lock);
    vg_status status = VG_BAD_ADDRESS;
    if (address != NULL && size_bytes > 0 && entry_at(address) == NULL)
        status = insert((entry){{(uintptr_t)address, size_bytes, 0, VG_REGISTERED, 0}, size_bytes, NULL}) ? VG_OK : VG_HOST_EXHAUSTED;
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

static entry *device_entry(const void *address)
{
    entry *hit = entry_at(address);
    return hit != NULL && hit->region.kind == VG_DEVICE ? hit : NULL;
}

static bool inside(const entry *within, const void *address, size_t size_bytes)
{
    return (uintptr_t)address - within->region.base + size_bytes <= within->region.size_bytes;
}

/* Calls `act` for each stretch of [address, address + size) that lies in one granule. */
typedef void granule_act(entry *within, size_t granule, char *at, size_t size_bytes, size_t offset, void *other);

static void for_each_granule(entry *within, char *address, size_t size_bytes, granule_act *act, void *other)
{
    for (size_t done = 0; done < size_bytes;) {
        size_t from_base = (size_t)(address + done - (char *)within->region.base);
        size_t stretch = GRANULE - from_base % GRANULE;
        if (stretch > size_bytes - done)
            stretch = size_bytes - done;
        act(within, from_base / GRANULE, address + done, stretch, done, other);
        done += stretch;
    }
}

static void write_granule(entry *within, size_t granule, char *at, size_t size_bytes, size_t offset, void *from)
{
    if (!within->written[granule]) {
        void *base = (char *)within->region.base + granule * GRANULE;
        if (mprotect(base, GRANULE, PROT_READ | PROT_WRITE) != 0)
            return; /* the host has no memory to give: the bytes stay zero, as for a large copy */
        within->written[granule] = 1;
    }
    memcpy(at, (const char *)from + offset, size_bytes);
}

static void read_granule(entry *within, size_t granule, char *at, size_t size_bytes, size_t offset, void *to)
{
    if (within->written[granule])
        memcpy((char *)to + offset, at, size_bytes);
    else
        memset((char *)to + offset, 0, size_bytes);
}

/* Large data is not kept: what it overwrites reads as zero from now on. */
static void clear_granule(entry *within, size_t granule, char *at, size_t size_bytes, size_t offset, void *unused)
{
    (void)offset;
    (void)unused;
    if (!within->written[granule])
        return;
    if (size_bytes == GRANULE) {
        madvise(at, size_bytes, MADV_DONTNEED);
        return;
    }
    memset(at, 0, size_bytes);
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

static void copy_on_device(entry *target, void *to, entry *source, const void *from, size_t size_bytes)
{
    bool source_blank = true;
    for (size_t granule = ((uintptr_t)from - source->region.base) / GRANULE;
         granule <= ((uintptr_t)from - source->region.base + size_bytes - 1) / GRANULE; granule++)
        source_blank = source_blank && !source->written[granule];
    if (source_blank || size_bytes > VG_REAL_BYTES) {
        for_each_granule(target, to, size_bytes, clear_granule, NULL);
        return;
    }
    char *bytes = malloc(size_bytes);
    if (bytes == NULL)
        return;
    for_each_granule(source, (char *)from, size_bytes, read_granule, bytes);
    for_each_granule(target, to, size_bytes, write_granule, bytes);
    free(bytes);
}

static vg_status copy(void *to, const void *from, size_t size_bytes, vg_direction *direction)
{
    entry *target = device_entry(to), *source = device_entry(from);
    *direction = target ? (source ? VG_DEVICE_TO_DEVICE : VG_HOST_TO_DEVICE) : (source ? VG_DEVICE_TO_HOST : VG_HOST_TO_HOST);
    if ((target && !inside(target, to, size_bytes)) || (source && !inside(source, from, size_bytes)))
        return VG_BAD_ADDRESS;
    if (target && source)
        copy_on_device(target, to, source, from, size_bytes);
    else if (target && size_bytes > VG_REAL_BYTES)
        for_each_granule(target, to, size_bytes, clear_granule, NULL);
    else if (target)
        for_each_granule(target, to, size_bytes, write_granule, (void *)from);
    else if (source && size_bytes > VG_REAL_BYTES)
        zero_host(to, size_bytes);
    else if (source)
        for_each_granule(source, (char *)from, size_bytes, read_granule, to);
    else
        memmove(to, from, size_bytes);
    return VG_OK;
}

/* ---- contents ------------------------------------------------------------------------------------------------------------- */

vg_status vg_copy(void *to, const void *from, size_t size_bytes)
{
    if (size_bytes == 0)
        return VG_OK;
    vg_direction direction;
    pthread_mutex_lock(&lock);
    vg_status status = copy(to, from, size_bytes, &direction);
    pthread_mutex_unlock(&lock);
    if (status == VG_OK && direction == VG_HOST_TO_DEVICE)
        vg_count(VG_BYTES_TO_DEVICE, size_bytes);
    if (status == VG_OK && direction == VG_DEVICE_TO_HOST)
        vg_count(VG_BYTES_TO_HOST, size_bytes);
    return status;
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

static vg_status fill_device(entry *target, void *to, const char *pattern, size_t pattern_bytes, size_t size_bytes)
{
    if (!inside(target, to, size_bytes))
        return VG_BAD_ADDRESS;
    char *bytes = size_bytes <= VG_REAL_BYTES ? malloc(size_bytes) : NULL;
    if (bytes == NULL) {
        for_each_granule(target, to, size_bytes, clear_granule, NULL);
        return VG_OK;
    }
    repeat(bytes, pattern, pattern_bytes, size_bytes);
    for_each_granule(target, to, size_bytes, write_granule, bytes);
    free(bytes);
    return VG_OK;
}

vg_status vg_fill(void *to, const void *pattern, size_t pattern_bytes, size_t size_bytes)
{
    if (size_bytes == 0)
        return VG_OK;
    pthread_mutex_lock(&lock);
    entry *target = device_entry(to);
    vg_status status = VG_BAD_ADDRESS;
    if (target != NULL)
        status = fill_device(target, to, pattern, pattern_bytes, size_bytes);
    else if (entry_at(to) != NULL) {
        repeat(to, pattern, pattern_bytes, size_bytes);
        status = VG_OK;
    }
    pthread_mutex_unlock(&lock);
    return status;
}
