/* Device, managed and pinned memory: who holds what, and how much of the card is used. */
#include "ledger.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Room in the arena for each byte of the card, so that gaps between regions never make an allocation fail.
 * Source: Knuth, The Art of Computer Programming, volume 1, exercise 2.5-43: first fit needs at most H(m) / ln 2 times the memory
 * that is in use, m being the largest request in granules. 19.7 for m = 2^19, that is for a region of 1 TiB. */
#define ARENA_FACTOR 20

pthread_mutex_t ledger_lock = PTHREAD_MUTEX_INITIALIZER;
static entry *entries; /* sorted by base; no two overlap */
static size_t entry_count, entry_capacity;
static arena *homes[VG_MAX_CARDS];
static uint64_t device_bytes[VG_MAX_CARDS], managed_bytes[VG_MAX_CARDS], pinned_bytes, peak_bytes[VG_MAX_CARDS];
static vg_outside outside_peaks[VG_MAX_CARDS];

static void take_lock(void) { pthread_mutex_lock(&ledger_lock); }
static void give_lock(void) { pthread_mutex_unlock(&ledger_lock); }

/* A fork waits until no thread is half-way through a change of the books. */
__attribute__((constructor)) static void survive_fork(void) { pthread_atfork(take_lock, give_lock, give_lock); }

/* ---- usage; the lock is held ---------------------------------------------------------------------------------------------- */

static vg_usage usage(int device)
{
    const vg_card *card = vg_the_card();
    uint64_t used = card->context_bytes + device_bytes[device];
    uint64_t room = card->total_bytes - used;
    uint64_t resident = managed_bytes[device] < room ? managed_bytes[device] : room;
    return (vg_usage){card->total_bytes, used, resident, peak_bytes[device]};
}

static void raise_to(uint64_t *peak, uint64_t now)
{
    if (now > *peak)
        *peak = now;
}

static void note_peak(int device)
{
    vg_usage now = usage(device);
    raise_to(&outside_peaks[device].managed_bytes, managed_bytes[device]);
    raise_to(&outside_peaks[device].managed_host_bytes, managed_bytes[device] - now.managed_bytes);
    raise_to(&outside_peaks[device].pinned_bytes, pinned_bytes);
    raise_to(&peak_bytes[device], now.used_bytes + now.managed_bytes);
}

/* Page-locked memory belongs to no card in particular. */
static void lock_pages(size_t size_bytes)
{
    pinned_bytes += size_bytes;
    for (int device = 0; device < VG_MAX_CARDS; device++)
        raise_to(&outside_peaks[device].pinned_bytes, pinned_bytes);
}

bool has_room(int device, size_t size_bytes)
{
    vg_usage now = usage(device);
    return size_bytes <= now.total_bytes - now.used_bytes;
}

bool charge(int device, size_t size_bytes)
{
    if (!has_room(device, size_bytes))
        empty_pools(device);
    if (!has_room(device, size_bytes))
        return false;
    device_bytes[device] += size_bytes;
    note_peak(device);
    return true;
}

void discharge(int device, size_t size_bytes)
{
    device_bytes[device] -= size_bytes;
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

const entry *neighbour(const entry *found, int step)
{
    size_t index = (size_t)(found - entries) + (size_t)step; /* before the first is beyond the last */
    return index < entry_count && entries[index].home == found->home ? &entries[index] : NULL;
}

/* Whether any byte of [base, base + size), which must not wrap, is in a region. */
static bool taken(uintptr_t base, size_t size_bytes)
{
    size_t next = above(base);
    return entry_at((void *)base) != NULL || (next < entry_count && entries[next].region.base - base < size_bytes);
}

bool insert(entry added)
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

void erase(entry *gone)
{
    size_t index = (size_t)(gone - entries);
    memmove(gone, gone + 1, (entry_count - index - 1) * sizeof *entries);
    entry_count--;
}

uintptr_t lowest_gap(const arena *within, size_t span_bytes, size_t alignment)
{
    uintptr_t end = within->base + within->size_bytes, at = round_up(within->base, alignment);
    for (size_t i = above(within->base - 1); i < entry_count && entries[i].region.base < end; i++) {
        if (entries[i].region.base >= at && entries[i].region.base - at >= span_bytes)
            return at;
        at = round_up(entries[i].region.base + entries[i].span_bytes, alignment);
    }
    return at < end && end - at >= span_bytes ? at : 0;
}

/* ---- allocation; the lock is held ------------------------------------------------------------------------------------------ */

static vg_status allocate_device(int device, size_t size_bytes, void **address)
{
    if (size_bytes > vg_the_card()->total_bytes)
        return VG_OUT_OF_MEMORY;
    size_t span = round_up(size_bytes, GRANULE), arena_bytes = round_up(vg_the_card()->total_bytes, GRANULE) * ARENA_FACTOR;
    if (!charge(device, span))
        return VG_OUT_OF_MEMORY;
    /* A smaller arena of an earlier card is empty by now (vg_place), but costs only address space: it is left alone. */
    if (homes[device] == NULL || homes[device]->size_bytes < arena_bytes)
        homes[device] = make_arena(arena_bytes);
    uintptr_t base = homes[device] != NULL ? lowest_gap(homes[device], span, GRANULE) : 0;
    entry added = {{base, size_bytes, span, VG_DEVICE, device}, span, homes[device], NULL, {NULL, NULL}};
    if (base == 0 || !insert(added)) {
        discharge(device, span);
        return VG_HOST_EXHAUSTED;
    }
    *address = (void *)base;
    return VG_OK;
}

static vg_status allocate_host(vg_kind kind, int device, size_t size_bytes, void **address)
{
    if (size_bytes > SIZE_MAX - GRANULE)
        return VG_HOST_EXHAUSTED; /* it cannot be rounded up */
    size_t span = round_up(size_bytes, GRANULE);
    void *base = mmap(NULL, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return VG_HOST_EXHAUSTED;
    if (!insert((entry){{(uintptr_t)base, size_bytes, 0, kind, device}, span, NULL, NULL, {NULL, NULL}})) {
        munmap(base, span);
        return VG_HOST_EXHAUSTED;
    }
    if (kind == VG_MANAGED) {
        managed_bytes[device] += size_bytes;
        note_peak(device);
    } else {
        lock_pages(size_bytes);
    }
    *address = base;
    return VG_OK;
}

static void release(entry *gone)
{
    switch (gone->region.kind) {
    case VG_DEVICE:
        if (gone->pool != NULL) {
            leave_pool(gone);
            break;
        }
        discard(gone->home, gone->region.base, gone->span_bytes);
        discharge(gone->region.device, gone->span_bytes);
        break;
    case VG_MANAGED:
        managed_bytes[gone->region.device] -= gone->region.size_bytes;
        munmap((void *)gone->region.base, gone->span_bytes);
        break;
    case VG_PINNED:
        pinned_bytes -= gone->region.size_bytes;
        munmap((void *)gone->region.base, gone->span_bytes);
        break;
    case VG_REGISTERED: pinned_bytes -= gone->region.size_bytes; break; /* the caller's own memory */
    case VG_RESERVED: break;   /* goes through vg_unreserve */
    }
    erase(gone);
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

vg_status vg_release(vg_kind kind, void *address)
{
    if (address == NULL)
        return VG_OK;
    pthread_mutex_lock(&ledger_lock);
    entry *found = entry_at(address);
    bool freeable = found != NULL && found->region.base == (uintptr_t)address &&
                    (found->region.kind == kind || (kind == VG_DEVICE && found->region.kind == VG_MANAGED));
    bool from_device = freeable && found->region.kind == VG_DEVICE && found->pool == NULL;
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
    entry added = {{base, size_bytes, 0, VG_REGISTERED, 0}, size_bytes, NULL, NULL, {NULL, NULL}};
    if (!taken(base, size_bytes) && !in_arena(base, size_bytes))
        status = insert(added) ? VG_OK : VG_HOST_EXHAUSTED;
    if (status == VG_OK)
        lock_pages(size_bytes);
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
    const entry *hit = entry_at(address);
    bool known = hit != NULL;
    if (known && hit->region.kind == VG_RESERVED)
        known = mapping_at(hit, (uintptr_t)address, found);
    else if (known)
        *found = hit->region;
    pthread_mutex_unlock(&ledger_lock);
    return known;
}

vg_usage vg_usage_of(int device)
{
    pthread_mutex_lock(&ledger_lock);
    vg_usage now = usage(device);
    pthread_mutex_unlock(&ledger_lock);
    return now;
}

vg_outside vg_outside_peaks(int device)
{
    pthread_mutex_lock(&ledger_lock);
    vg_outside peaks = outside_peaks[device];
    pthread_mutex_unlock(&ledger_lock);
    return peaks;
}

void vg_reset_peak(void)
{
    pthread_mutex_lock(&ledger_lock);
    for (int device = 0; device < VG_MAX_CARDS; device++) {
        peak_bytes[device] = 0;
        outside_peaks[device] = (vg_outside){0, 0, 0};
        note_peak(device);
    }
    pthread_mutex_unlock(&ledger_lock);
    vg_reset_held_peak();
}
