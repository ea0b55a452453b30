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

static bool grow(handle_set *set)
{
    handle_set larger = {.capacity = set->live * 4 < 64 ? 64 : set->capacity * 2};
    larger.slots = calloc(larger.capacity, sizeof *larger.slots);
    if (larger.slots == NULL)
        return false;
    for (size_t i = 0; i < set->capacity; i++)
        if (set->slots[i] != NULL && set->slots[i] != TOMBSTONE)
            put(&larger, set->slots[i]);
    free(set->slots);
    *set = larger;
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

int vg_stream_priority(const void *stream)
{
    return is_default_stream(stream) || !vg_stream_known(stream) ? 0 : ((const vg_stream *)stream)->priority;
}

unsigned vg_stream_flags(const void *stream)
{
    return is_default_stream(stream) || !vg_stream_known(stream) ? 0 : ((const vg_stream *)stream)->flags;
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
    if (!vg_event_known(event))
        return false;
    event->recorded = true;
    event->at_ns = vg_clock_ns();
    return true;
}

bool vg_event_elapsed_ns(const vg_event *start, const vg_event *end, uint64_t *elapsed_ns)
{
    if (!vg_event_known(start) || !vg_event_known(end) || !start->recorded || !end->recorded)
        return false;
    *elapsed_ns = end->at_ns - start->at_ns;
    return true;
}
