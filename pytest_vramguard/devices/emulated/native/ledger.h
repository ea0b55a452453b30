/* What the files of the core share about memory: the table of regions, in which every address is looked up, and the arenas.
 *
 * Nothing here is seen outside libvramguard_core.so. Everything is used with `ledger_lock` held.
 */
#ifndef VRAMGUARD_LEDGER_H
#define VRAMGUARD_LEDGER_H

#include "core.h"

#include <pthread.h>

#define GRANULE VG_GRANULE_BYTES

/* A range of addresses that only device memory can have: reserved with no access, and aligned to granules. Arenas are never
 * given back, so an address that was device memory once is never taken for host memory. */
typedef struct arena {
    uintptr_t base;
    size_t size_bytes;
    uint8_t *written; /* one flag a granule: readable, holds real bytes */
    struct arena *next;
} arena;

/* What is mapped into a reserved address range; one element a granule. */
typedef struct {
    uint32_t *memory; /* which physical memory, or 0 */
    uint8_t *access;  /* vg_access */
} mappings;

typedef struct {
    vg_region region;
    size_t span_bytes; /* address space that the region takes */
    arena *home;       /* of device memory and reserved ranges, else NULL */
    vg_pool *pool;     /* that the memory is from, or NULL */
    mappings mapped;   /* of a reserved range */
} entry;

extern pthread_mutex_t ledger_lock;

/* ---- ledger.c ---- */
entry *entry_at(const void *address);
/* The entry before and after `found`, if any, that lie in the same arena. */
const entry *neighbour(const entry *found, int step);
bool insert(entry added);
void erase(entry *gone);
/* Takes memory of the card, first from what its pools hold and nobody uses if there is not enough. False if it is full. */
bool charge(int device, size_t size_bytes);
void discharge(int device, size_t size_bytes);
bool has_room(int device, size_t size_bytes);

/* ---- arena.c ---- */
/* NULL if the process has no such stretch of addresses left. */
arena *make_arena(size_t size_bytes);
/* Whether any byte of [base, base + size), which must not wrap, can only be device memory. */
bool in_arena(uintptr_t base, size_t size_bytes);
/* Lowest free address with room for `span_bytes`, a multiple of `alignment`; 0 if there is none. */
uintptr_t lowest_gap(const arena *within, size_t span_bytes, size_t alignment);
/* Gives back the real bytes of whole granules and makes them inaccessible again. */
void discard(arena *home, uintptr_t base, size_t size_bytes);

/* ---- contents.c ---- */
void forget_bytes(entry *gone);

/* ---- virtual.c ---- */
/* Whether all of a stretch of a reserved range is mapped and may be read, or written if `writing`. */
bool mapped_for(const entry *range, uintptr_t address, size_t size_bytes, bool writing);
/* The mapping at an address of a reserved range, as device memory; false if nothing is mapped there. */
bool mapping_at(const entry *range, uintptr_t address, vg_region *found);

/* ---- pools.c ---- */
void leave_pool(entry *gone);
/* Lets the pools of a card give back what they hold and nobody uses. */
void empty_pools(int device);

static inline size_t round_up(size_t size_bytes, size_t unit) { return (size_bytes + unit - 1) / unit * unit; }

#endif
