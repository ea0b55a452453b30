/* Tables of live handles. */
#include "queue.h"

#include <stdlib.h>

static const char tombstone_mark;
#define TOMBSTONE ((const void *)&tombstone_mark)

pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;

static void take_lock(void) { pthread_mutex_lock(&queue_lock); }
static void give_lock(void) { pthread_mutex_unlock(&queue_lock); }

__attribute__((constructor)) static void survive_fork(void) { pthread_atfork(take_lock, give_lock, give_lock); }

static size_t slot_of(const void *handle, size_t capacity)
{
    return (size_t)(((uintptr_t)handle >> 4) * 0x9E3779B97F4A7C15ull) & (capacity - 1);
}

static const void **find(const handle_set *set, const void *handle)
{
    if (set->capacity == 0 || handle == NULL)
        return NULL;
    for (size_t i = slot_of(handle, set->capacity); set->slots[i] != NULL; i = (i + 1) & (set->capacity - 1))
        if (set->slots[i] == handle)
            return &set->slots[i];
    return NULL;
}

bool holds(const handle_set *set, const void *handle)
{
    return find(set, handle) != NULL;
}

static void put(handle_set *set, const void *handle)
{
    size_t i = slot_of(handle, set->capacity);
    while (set->slots[i] != NULL)
        i = (i + 1) & (set->capacity - 1);
    set->slots[i] = handle;
    set->live++;
    set->filled++;
}

/* Moves the live handles to a table that they fill to a quarter at most; tombstones stay behind, so that churn does not grow it. */
static bool grow(handle_set *set)
{
    handle_set fresh = {.capacity = 64};
    while (fresh.capacity < set->live * 4)
        fresh.capacity *= 2;
    fresh.slots = calloc(fresh.capacity, sizeof *fresh.slots);
    if (fresh.slots == NULL)
        return false;
    for (size_t i = 0; i < set->capacity; i++)
        if (set->slots[i] != NULL && set->slots[i] != TOMBSTONE)
            put(&fresh, set->slots[i]);
    free(set->slots);
    *set = fresh;
    return true;
}

bool add(handle_set *set, const void *handle)
{
    if ((set->filled + 1) * 2 > set->capacity && !grow(set))
        return false;
    put(set, handle);
    return true;
}

bool remove_from(handle_set *set, const void *handle)
{
    const void **slot = find(set, handle);
    if (slot == NULL)
        return false;
    *slot = TOMBSTONE;
    set->live--;
    return true;
}

void *adopt(handle_set *set, void *handle)
{
    if (handle == NULL)
        return NULL;
    pthread_mutex_lock(&queue_lock);
    bool added = add(set, handle);
    pthread_mutex_unlock(&queue_lock);
    if (added)
        return handle;
    free(handle);
    return NULL;
}

bool destroy(handle_set *set, void *handle)
{
    pthread_mutex_lock(&queue_lock);
    bool removed = remove_from(set, handle);
    pthread_mutex_unlock(&queue_lock);
    if (removed)
        free(handle);
    return removed;
}
