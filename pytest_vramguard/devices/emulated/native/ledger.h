/* What the files of the core share about memory: the table of regions, in which every address is looked up.
 *
 * Nothing here is seen outside libvramguard_core.so. Every function and the table itself are used with `ledger_lock` held.
 */
#ifndef VRAMGUARD_LEDGER_H
#define VRAMGUARD_LEDGER_H

#include "core.h"

#include <pthread.h>

/* cudaMalloc takes memory from the driver in blocks of 2 MiB: cudaMemGetInfo moves in these steps. */
#define GRANULE ((size_t)2 << 20)

typedef struct {
    vg_region region;
    size_t span_bytes; /* address space that the region takes: size rounded up to granules */
    uint8_t *written;  /* one flag a granule of device memory: readable, holds real bytes */
} entry;

extern pthread_mutex_t ledger_lock;

entry *entry_at(const void *address);
/* Whether `size_bytes` from `address`, which is in `within`, are all in it. */
bool inside(const entry *within, const void *address, size_t size_bytes);
/* Whether any byte of [base, base + size), which must not wrap, can only be device memory. */
bool in_arena(uintptr_t base, size_t size_bytes);

#endif
