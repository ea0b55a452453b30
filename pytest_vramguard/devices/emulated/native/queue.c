/* Streams and events. Work is done the moment it is asked for, so a stream orders nothing; handles are checked all the same.
 *
 * Handles live in growing tables and are never handed out twice at the same time, so a stale or foreign handle is recognised
 * without being dereferenced.
 */
#include "core.h"

#include <pthread.h>
#include <stdlib.h>

struct vg_stream {
    unsigned flags;
    int priority;
};

struct vg_event {
    bool recorded;
    uint64_t at_ns;
};

/* A set of live pointers: open addressing, power-of-two capacity, at most half full. */
typedef struct {
    const void **slots;
    size_t capacity;
    size_t live;
    size_t filled; /* live and tombstones */
} handle_set;

static const char tombstone_mark;
#define TOMBSTONE ((const void *)&tombstone_mark)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static handle_set streams, events;

static void take_lock(void) { pthread_mutex_lock(&lock); }
static void give_lock(void) { pthread_mutex_unlock(&lock); }

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

static bool add(handle_set *set, const void *handle)
{
    if ((set->filled + 1) * 2 > set->capacity && !grow(set))
        return false;
    put(set, handle);
    return true;
}

static bool remove_from(handle_set *set, const void *handle)
{
    const void **slot = find(set, handle);
    if (slot == NULL)
        return false;
    *slot = TOMBSTONE;
    set->live--;
    return true;
}

/* Takes ownership of `handle`; returns it once it is known, else frees it and returns NULL. */
static void *adopt(handle_set *set, void *handle)
{
    if (handle == NULL)
        return NULL;
    pthread_mutex_lock(&lock);
    bool added = add(set, handle);
    pthread_mutex_unlock(&lock);
    if (added)
        return handle;
    free(handle);
    return NULL;
}

static bool destroy(handle_set *set, void *handle)
{
    pthread_mutex_lock(&lock);
    bool removed = remove_from(set, handle);
    pthread_mutex_unlock(&lock);
    if (removed)
        free(handle);
    return removed;
}

static bool is_default_stream(const void *stream)
{
    return (uintptr_t)stream <= 2;
}

vg_stream *vg_stream_create(unsigned flags, int priority)
{
    vg_stream *stream = malloc(sizeof *stream);
    if (stream != NULL)
        *stream = (vg_stream){.flags = flags, .priority = priority};
    return adopt(&streams, stream);
}

bool vg_stream_destroy(vg_stream *stream)
{
    return destroy(&streams, stream);
}

bool vg_stream_known(const void *stream)
{
    if (is_default_stream(stream))
        return true;
    pthread_mutex_lock(&lock);
    bool known = find(&streams, stream) != NULL;
    pthread_mutex_unlock(&lock);
    return known;
}

/* A copy of the stream, for it may be destroyed the moment the lock is given back; all zero for the default streams. */
static vg_stream look_up(const void *stream)
{
    pthread_mutex_lock(&lock);
    vg_stream found = find(&streams, stream) != NULL ? *(const vg_stream *)stream : (vg_stream){.priority = 0};
    pthread_mutex_unlock(&lock);
    return found;
}

int vg_stream_priority(const void *stream)
{
    return look_up(stream).priority;
}

unsigned vg_stream_flags(const void *stream)
{
    return look_up(stream).flags;
}

vg_event *vg_event_create(unsigned flags)
{
    (void)flags; /* timing, blocking and inter-process flags change nothing here; inter-process handles are refused */
    return adopt(&events, calloc(1, sizeof(vg_event)));
}

bool vg_event_destroy(vg_event *event)
{
    return destroy(&events, event);
}

bool vg_event_known(const vg_event *event)
{
    pthread_mutex_lock(&lock);
    bool known = find(&events, event) != NULL;
    pthread_mutex_unlock(&lock);
    return known;
}

bool vg_event_record(vg_event *event)
{
    pthread_mutex_lock(&lock);
    bool known = find(&events, event) != NULL;
    if (known)
        *event = (vg_event){.recorded = true, .at_ns = vg_clock_ns()};
    pthread_mutex_unlock(&lock);
    return known;
}

bool vg_event_elapsed_ns(const vg_event *start, const vg_event *end, int64_t *elapsed_ns)
{
    pthread_mutex_lock(&lock);
    bool timed = find(&events, start) != NULL && find(&events, end) != NULL && start->recorded && end->recorded;
    if (timed)
        *elapsed_ns = (int64_t)end->at_ns - (int64_t)start->at_ns;
    pthread_mutex_unlock(&lock);
    return timed;
}
