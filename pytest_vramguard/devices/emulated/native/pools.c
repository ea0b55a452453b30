/* Memory pools: device memory that is allocated and freed in the order of a stream (cudaMallocAsync).
 *
 * Work is done when it is asked for, so what was freed can be had again at once, whichever stream asks.
 * A pool takes the lowest address with room, in steps of 512 bytes, as cudaMalloc aligns. What it must hold is every granule that
 * a live allocation touches: the driver maps unused granules elsewhere when an allocation finds no gap that is large enough, so
 * gaps cost addresses and no memory. Source: NVIDIA Technical Blog, "Using the NVIDIA CUDA Stream-Ordered Memory Allocator,
 * Part 1" (July 2021).
 */
#include "ledger.h"

#include <stdlib.h>

#define UNIT ((size_t)512)
/* A pool takes memory from the card in these steps. NVIDIA documents no figure and no published reading of
 * cudaMemPoolAttrReservedMemCurrent was found, so this one is an assumption. Near the end of the card the steps shrink to granules. */
#define GROWTH_BYTES ((size_t)32 << 20)
/* As ARENA_FACTOR of ledger.c, for requests of up to 2^31 units: H(2^31) / ln 2 is 31.9. */
#define ARENA_FACTOR 32

struct vg_pool {
    int device;
    size_t most_bytes; /* that it may hold; 0 for no limit */
    arena *home;       /* NULL until something is allocated */
    uint64_t reuse[3]; /* policies: they change nothing here */
    uint64_t threshold_bytes, reserved_bytes, reserved_high_bytes, used_bytes, used_high_bytes;
    uint64_t touched_bytes; /* granules with live memory */
    bool destroyed;
    vg_pool *next;
};

static vg_pool *pools; /* all that were made; a destroyed one is used again once nothing of it is live */
static vg_pool *defaults[VG_MAX_CARDS], *current[VG_MAX_CARDS];

/* ---- the lock is held ------------------------------------------------------------------------------------------------------ */

static bool known(const vg_pool *pool)
{
    const vg_pool *each = pools;
    while (each != NULL && each != pool)
        each = each->next;
    return each != NULL && !each->destroyed;
}

static vg_pool *make_pool(int device, size_t most_bytes)
{
    vg_pool *made = pools;
    while (made != NULL && !(made->destroyed && made->device == device && made->used_bytes == 0))
        made = made->next;
    bool fresh = made == NULL;
    if (fresh && (made = malloc(sizeof *made)) == NULL)
        return NULL;
    arena *home = fresh ? NULL : made->home;
    vg_pool *next = fresh ? pools : made->next;
    *made = (vg_pool){.device = device, .most_bytes = most_bytes, .home = home, .reuse = {1, 1, 1}, .next = next};
    if (fresh)
        pools = made;
    return made;
}

static vg_pool *default_of(int device)
{
    if (defaults[device] == NULL)
        defaults[device] = make_pool(device, 0);
    return defaults[device];
}

static vg_pool *current_of(int device)
{
    return current[device] != NULL ? current[device] : default_of(device);
}

/* Gives back what is not in use, down to `kept_bytes`. */
static void shrink(vg_pool *pool, uint64_t kept_bytes)
{
    if (pool->reserved_bytes <= kept_bytes)
        return; /* also for the largest number, which cannot be rounded up */
    uint64_t least = pool->touched_bytes > kept_bytes ? pool->touched_bytes : round_up(kept_bytes, GRANULE);
    if (pool->reserved_bytes > least) {
        discharge(pool->device, pool->reserved_bytes - least);
        pool->reserved_bytes = least;
    }
}

void empty_pools(int device)
{
    for (vg_pool *each = pools; each != NULL; each = each->next)
        if (each->device == device)
            shrink(each, 0);
}

static bool grow(vg_pool *pool, uint64_t needed_bytes)
{
    if (needed_bytes <= pool->reserved_bytes)
        return true;
    uint64_t least = needed_bytes - pool->reserved_bytes, growth = round_up(least, GROWTH_BYTES);
    if (pool->most_bytes != 0 && needed_bytes > pool->most_bytes)
        return false;
    if (!has_room(pool->device, growth))
        growth = least;
    if (!has_room(pool->device, growth)) {
        empty_pools(pool->device); /* this one too, so that it lacks more now */
        growth = needed_bytes - pool->reserved_bytes;
    }
    if (!charge(pool->device, growth))
        return false;
    pool->reserved_bytes += growth;
    if (pool->reserved_bytes > pool->reserved_high_bytes)
        pool->reserved_high_bytes = pool->reserved_bytes;
    return true;
}

/* Bytes of the granules that `found` touches and its neighbours do not. */
static uint64_t own_granules(const entry *found)
{
    const entry *before = neighbour(found, -1), *after = neighbour(found, 1);
    uintptr_t first = found->region.base / GRANULE, last = (found->region.base + found->span_bytes - 1) / GRANULE;
    if (before != NULL && (before->region.base + before->span_bytes - 1) / GRANULE == first)
        first++;
    if (after != NULL && after->region.base / GRANULE == last && last > 0)
        last--;
    return last >= first ? (last - first + 1) * GRANULE : 0;
}

static vg_status allocate(vg_pool *pool, size_t size_bytes, void **address)
{
    size_t total = vg_the_card()->total_bytes, span = round_up(size_bytes, UNIT);
    size_t arena_bytes = round_up(total, GRANULE) * ARENA_FACTOR;
    if (pool->home == NULL || (pool->home->size_bytes < arena_bytes && pool->used_bytes == 0))
        pool->home = make_arena(arena_bytes);
    uintptr_t base = pool->home != NULL ? lowest_gap(pool->home, span, UNIT) : 0;
    if (base == 0 || !insert((entry){{base, size_bytes, 0, VG_DEVICE, pool->device}, span, pool->home, pool, {NULL, NULL}}))
        return VG_HOST_EXHAUSTED;
    entry *made = entry_at((void *)base);
    uint64_t touched = own_granules(made);
    if (!grow(pool, pool->touched_bytes + touched)) {
        erase(made);
        return VG_OUT_OF_MEMORY;
    }
    pool->touched_bytes += touched;
    pool->used_bytes += span;
    if (pool->used_bytes > pool->used_high_bytes)
        pool->used_high_bytes = pool->used_bytes;
    *address = (void *)base;
    return VG_OK;
}

void leave_pool(entry *gone)
{
    vg_pool *pool = gone->pool;
    uint64_t touched = own_granules(gone);
    forget_bytes(gone);
    if (touched != 0) {
        const entry *before = neighbour(gone, -1);
        uintptr_t first = gone->region.base / GRANULE * GRANULE;
        if (before != NULL && before->region.base + before->span_bytes > first)
            first += GRANULE;
        discard(gone->home, first, touched);
    }
    pool->touched_bytes -= touched;
    pool->used_bytes -= gone->span_bytes;
    if (pool->destroyed)
        shrink(pool, 0);
}

/* ---- pools ----------------------------------------------------------------------------------------------------------------- */

vg_pool *vg_pool_default(int device)
{
    pthread_mutex_lock(&ledger_lock);
    vg_pool *found = default_of(device);
    pthread_mutex_unlock(&ledger_lock);
    return found;
}

vg_pool *vg_pool_current(int device)
{
    pthread_mutex_lock(&ledger_lock);
    vg_pool *found = current_of(device);
    pthread_mutex_unlock(&ledger_lock);
    return found;
}

vg_pool *vg_pool_create(int device, size_t most_bytes)
{
    pthread_mutex_lock(&ledger_lock);
    vg_pool *made = make_pool(device, most_bytes);
    pthread_mutex_unlock(&ledger_lock);
    return made;
}

bool vg_pool_destroy(vg_pool *pool)
{
    pthread_mutex_lock(&ledger_lock);
    bool destroyed = known(pool) && pool != defaults[pool->device];
    if (destroyed) {
        for (int device = 0; device < VG_MAX_CARDS; device++)
            if (current[device] == pool)
                current[device] = NULL;
        pool->destroyed = true;
        shrink(pool, 0);
    }
    pthread_mutex_unlock(&ledger_lock);
    return destroyed;
}

bool vg_pool_use(int device, vg_pool *pool)
{
    pthread_mutex_lock(&ledger_lock);
    bool usable = known(pool) && pool->device == device;
    if (usable)
        current[device] = pool;
    pthread_mutex_unlock(&ledger_lock);
    return usable;
}

vg_status vg_pool_allocate(vg_pool *pool, size_t size_bytes, void **address)
{
    *address = NULL;
    pthread_mutex_lock(&ledger_lock);
    vg_status status = VG_OK;
    if (!known(pool))
        status = VG_BAD_ADDRESS;
    else if (size_bytes > vg_the_card()->total_bytes)
        status = VG_OUT_OF_MEMORY;
    else if (size_bytes > 0)
        status = allocate(pool, size_bytes, address);
    pthread_mutex_unlock(&ledger_lock);
    return status;
}

static uint64_t *place_of(vg_pool *pool, vg_pool_attribute attribute)
{
    switch (attribute) {
    case VG_POOL_REUSE_FOLLOW_EVENT_DEPENDENCIES: return &pool->reuse[0];
    case VG_POOL_REUSE_ALLOW_OPPORTUNISTIC: return &pool->reuse[1];
    case VG_POOL_REUSE_ALLOW_INTERNAL_DEPENDENCIES: return &pool->reuse[2];
    case VG_POOL_RELEASE_THRESHOLD: return &pool->threshold_bytes;
    case VG_POOL_RESERVED: return &pool->reserved_bytes;
    case VG_POOL_RESERVED_HIGH: return &pool->reserved_high_bytes;
    case VG_POOL_USED: return &pool->used_bytes;
    case VG_POOL_USED_HIGH: return &pool->used_high_bytes;
    }
    return NULL;
}

bool vg_pool_get(vg_pool *pool, vg_pool_attribute attribute, uint64_t *value)
{
    pthread_mutex_lock(&ledger_lock);
    const uint64_t *place = known(pool) ? place_of(pool, attribute) : NULL;
    if (place != NULL)
        *value = *place;
    pthread_mutex_unlock(&ledger_lock);
    return place != NULL;
}

static bool set(vg_pool *pool, vg_pool_attribute attribute, uint64_t value)
{
    uint64_t *place = place_of(pool, attribute);
    bool high = attribute == VG_POOL_RESERVED_HIGH || attribute == VG_POOL_USED_HIGH;
    if (place == NULL || attribute == VG_POOL_RESERVED || attribute == VG_POOL_USED || (high && value != 0))
        return false;
    *place = !high ? value : attribute == VG_POOL_USED_HIGH ? pool->used_bytes : pool->reserved_bytes;
    return true;
}

bool vg_pool_set(vg_pool *pool, vg_pool_attribute attribute, uint64_t value)
{
    pthread_mutex_lock(&ledger_lock);
    bool done = known(pool) && set(pool, attribute, value);
    pthread_mutex_unlock(&ledger_lock);
    return done;
}

bool vg_pool_trim(vg_pool *pool, size_t kept_bytes)
{
    pthread_mutex_lock(&ledger_lock);
    bool is_known = known(pool);
    if (is_known)
        shrink(pool, kept_bytes);
    pthread_mutex_unlock(&ledger_lock);
    return is_known;
}

void vg_settle_pools(void)
{
    pthread_mutex_lock(&ledger_lock);
    for (vg_pool *each = pools; each != NULL; each = each->next)
        shrink(each, each->threshold_bytes);
    pthread_mutex_unlock(&ledger_lock);
}
