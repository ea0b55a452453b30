/* The bytes of the emulated cards: copies and fills between any two places.
 *
 * Small data is kept for real, granule by granule; large data leaves zeros, which cost nothing.
 */
#include "ledger.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- contents; the lock is held ------------------------------------------------------------------------------------------- */

static bool inside(const entry *within, const void *address, size_t size_bytes, bool writing)
{
    size_t offset = (uintptr_t)address - within->region.base;
    if (size_bytes > within->region.size_bytes - offset)
        return false;
    return within->region.kind != VG_RESERVED || mapped_for(within, (uintptr_t)address, size_bytes, writing);
}

/* Finds the region, if any, of bytes to be copied or filled. False if they run out of it, or are of no region and cannot be host
 * memory either. */
static bool locate(const void *address, size_t size_bytes, bool writing, entry **found)
{
    *found = entry_at(address);
    if (*found != NULL)
        return inside(*found, address, size_bytes, writing);
    return address != NULL && !in_arena((uintptr_t)address, 1);
}

static bool on_card(const entry *where)
{
    return where != NULL && where->home != NULL;
}

/* Acts on the stretch of some device bytes that lies in one granule. False if the host has no memory to give. */
typedef bool granule_act(arena *home, size_t granule, char *at, size_t size_bytes, size_t offset, void *other);

static bool for_each_granule(const entry *within, const char *address, size_t size_bytes, granule_act *act, void *other)
{
    arena *home = within->home;
    for (size_t done = 0; done < size_bytes;) {
        size_t from_base = (uintptr_t)address + done - home->base;
        size_t stretch = GRANULE - from_base % GRANULE;
        if (stretch > size_bytes - done)
            stretch = size_bytes - done;
        if (!act(home, from_base / GRANULE, (char *)home->base + from_base, stretch, done, other))
            return false;
        done += stretch;
    }
    return true;
}

static bool all_zero(const char *bytes, size_t size_bytes)
{
    return size_bytes == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size_bytes - 1) == 0);
}

static bool write_granule(arena *home, size_t granule, char *at, size_t size_bytes, size_t offset, void *from)
{
    if (!home->written[granule]) {
        if (all_zero((const char *)from + offset, size_bytes))
            return true; /* it reads so already */
        void *base = (char *)home->base + granule * GRANULE;
        if (mprotect(base, GRANULE, PROT_READ | PROT_WRITE) != 0)
            return false;
        home->written[granule] = 1;
    }
    memcpy(at, (const char *)from + offset, size_bytes);
    return true;
}

static bool read_granule(arena *home, size_t granule, char *at, size_t size_bytes, size_t offset, void *to)
{
    if (home->written[granule])
        memcpy((char *)to + offset, at, size_bytes);
    else
        memset((char *)to + offset, 0, size_bytes);
    return true;
}

/* Large data is not kept: what it overwrites reads as zero from now on. */
static bool clear_granule(arena *home, size_t granule, char *at, size_t size_bytes, size_t offset, void *unused)
{
    (void)offset;
    (void)unused;
    if (!home->written[granule])
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

void forget_bytes(entry *gone)
{
    clear(gone, (const char *)gone->region.base, gone->span_bytes);
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
    size_t offset = (uintptr_t)from - source->home->base;
    for (size_t granule = offset / GRANULE; granule <= (offset + size_bytes - 1) / GRANULE; granule++)
        if (source->home->written[granule])
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
    if (size_bytes > VG_REAL_BYTES || all_zero(pattern, pattern_bytes))
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

static vg_status copy_rows(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t row_bytes, size_t rows, bool counted)
{
    size_t to_extent, from_extent;
    if (row_bytes == 0 || rows == 0)
        return VG_OK;
    if (!extent_of(to_pitch, row_bytes, rows, &to_extent) || !extent_of(from_pitch, row_bytes, rows, &from_extent))
        return VG_BAD_ADDRESS;
    size_t size_bytes = row_bytes * rows; /* at most an extent */
    bool kept = size_bytes <= VG_REAL_BYTES;
    entry *target, *source;
    pthread_mutex_lock(&ledger_lock);
    bool good = locate(to, to_extent, true, &target) && locate(from, from_extent, false, &source), copied = good;
    bool to_card = good && on_card(target) && !on_card(source), to_host = good && on_card(source) && !on_card(target);
    for (size_t row = 0; row < rows && copied; row++)
        copied = copy_row(target, (char *)to + row * to_pitch, source, (const char *)from + row * from_pitch, row_bytes, kept);
    pthread_mutex_unlock(&ledger_lock);
    vg_count(VG_BYTES_TO_DEVICE, counted && to_card && copied ? size_bytes : 0);
    vg_count(VG_BYTES_TO_HOST, counted && to_host && copied ? size_bytes : 0);
    return !good ? VG_BAD_ADDRESS : copied ? VG_OK : VG_HOST_EXHAUSTED;
}

vg_status vg_copy(void *to, const void *from, size_t size_bytes)
{
    return vg_copy_rows(to, size_bytes, from, size_bytes, size_bytes, 1);
}

vg_status vg_copy_rows(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t row_bytes, size_t rows)
{
    return copy_rows(to, to_pitch, from, from_pitch, row_bytes, rows, true);
}

vg_status vg_copy_uncounted(void *to, const void *from, size_t size_bytes)
{
    return copy_rows(to, size_bytes, from, size_bytes, size_bytes, 1, false);
}

vg_status vg_fill(void *to, const void *pattern, size_t pattern_bytes, size_t size_bytes)
{
    if (size_bytes == 0)
        return VG_OK;
    entry *target;
    pthread_mutex_lock(&ledger_lock);
    bool good = locate(to, size_bytes, true, &target) && target != NULL, filled = good;
    if (good && on_card(target))
        filled = fill_on_card(target, to, pattern, pattern_bytes, size_bytes);
    else if (good)
        repeat(to, pattern, pattern_bytes, size_bytes);
    pthread_mutex_unlock(&ledger_lock);
    return !good ? VG_BAD_ADDRESS : filled ? VG_OK : VG_HOST_EXHAUSTED;
}
