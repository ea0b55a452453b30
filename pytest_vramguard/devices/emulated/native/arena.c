/* Address space for device memory.
 *
 * Device memory is address space, not memory: an arena is reserved with no access, and a granule of it becomes readable and
 * writable only when something small is written there. Weights and activations of any size therefore cost nothing.
 */
#include "ledger.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static arena *arenas;

arena *make_arena(size_t size_bytes)
{
    arena *made = malloc(sizeof *made);
    uint8_t *written = calloc(size_bytes / GRANULE, 1);
    void *base = mmap(NULL, size_bytes + GRANULE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (made == NULL || written == NULL || base == MAP_FAILED) {
        if (base != MAP_FAILED)
            munmap(base, size_bytes + GRANULE);
        free(written);
        free(made);
        return NULL;
    }
    *made = (arena){round_up((size_t)base, GRANULE), size_bytes, written, arenas};
    arenas = made;
    return made;
}

bool in_arena(uintptr_t base, size_t size_bytes)
{
    for (const arena *each = arenas; each != NULL; each = each->next)
        if (base < each->base + each->size_bytes && each->base < base + size_bytes)
            return true;
    return false;
}

void discard(arena *home, uintptr_t base, size_t size_bytes)
{
    uint8_t *written = home->written + (base - home->base) / GRANULE;
    if (memchr(written, 1, size_bytes / GRANULE) == NULL)
        return;
    memset(written, 0, size_bytes / GRANULE);
    void *place = (void *)base;
    if (mmap(place, size_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
        madvise(place, size_bytes, MADV_DONTNEED); /* accessible still, but empty for what comes next */
}
