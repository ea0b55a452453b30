/* Streams and events.
 *
 * What work does is done the moment it is asked for, so a stream orders nothing; handles are checked all the same. When an event
 * is past is another matter: a card lags behind the host, and what waits for events, as PyTorch's allocator does before it gives
 * away a block that several streams have used, waits for that. Here the card works off everything in the order in which it was
 * asked for, and is as far as the host has waited for it to be, but never more than MOST_AHEAD launches behind.
 */
#include "queue.h"

#include <stdlib.h>

/* A stream takes about 1000 launches before the next one waits (measured by users, NVIDIA developer forums 68937): a process that
 * makes work faster than the card does it is so far ahead, one that makes large work slowly is not. Published runs of FSDP come
 * out alike with 100 and with 1000, but for one that fits its card and runs out of memory with 1000 while it shards its model. */
#define MOST_AHEAD 100u
/* Who asks for one event so often does nothing else, and would have seen it pass on a card. */
#define MOST_ASKED 100000u

static handle_set streams, events;
static uint64_t done_launches;

vg_stream *own_stream(const void *stream)
{
    return holds(&streams, stream) ? (vg_stream *)stream : NULL;
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
    pthread_mutex_lock(&queue_lock);
    if (holds(&streams, stream))
        leave_capture(stream);
    pthread_mutex_unlock(&queue_lock);
    return destroy(&streams, stream);
}

bool vg_stream_known(const void *stream)
{
    if (is_default_stream(stream))
        return true;
    pthread_mutex_lock(&queue_lock);
    bool known = holds(&streams, stream);
    pthread_mutex_unlock(&queue_lock);
    return known;
}

/* A copy of the stream, for it may be destroyed the moment the lock is given back; all zero for the default streams. */
static vg_stream look_up(const void *stream)
{
    pthread_mutex_lock(&queue_lock);
    vg_stream found = holds(&streams, stream) ? *(const vg_stream *)stream : (vg_stream){.priority = 0};
    pthread_mutex_unlock(&queue_lock);
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

vg_status vg_event_record(vg_event *event, const void *stream)
{
    pthread_mutex_lock(&queue_lock);
    const vg_stream *own = own_stream(stream);
    vg_status status = VG_INVALID_HANDLE;
    if (holds(&events, event) && (own != NULL || is_default_stream(stream))) {
        *event = (vg_event){.recorded = true, .at_ns = vg_clock_ns(), .at_launch = launched()};
        status = record_in_capture(event, own);
    }
    pthread_mutex_unlock(&queue_lock);
    return status;
}

vg_status vg_stream_wait(const void *stream, const vg_event *event)
{
    pthread_mutex_lock(&queue_lock);
    vg_stream *own = own_stream(stream);
    vg_status status = VG_INVALID_HANDLE;
    if (holds(&events, event) && (own != NULL || is_default_stream(stream)))
        status = wait_in_capture(own, event);
    pthread_mutex_unlock(&queue_lock);
    return status;
}

uint64_t launched(void)
{
    return vg_counted(VG_LAUNCHES) + vg_counted(VG_COMPUTE_CALLS);
}

void reach(uint64_t launch)
{
    pthread_mutex_lock(&queue_lock);
    if (launch > done_launches)
        done_launches = launch;
    pthread_mutex_unlock(&queue_lock);
}

/* The lock is held. */
static bool past(vg_event *event)
{
    if (event->at_launch <= done_launches || launched() - event->at_launch >= MOST_AHEAD)
        return true;
    return ++event->asked >= MOST_ASKED;
}

vg_status vg_event_query(vg_event *event)
{
    pthread_mutex_lock(&queue_lock);
    vg_status status = holds(&events, event) ? event_in_capture(event) : VG_INVALID_HANDLE;
    if (status == VG_OK && !past(event))
        status = VG_NOT_READY;
    pthread_mutex_unlock(&queue_lock);
    return status;
}

vg_status vg_event_synchronise(const vg_event *event)
{
    pthread_mutex_lock(&queue_lock);
    vg_status status = holds(&events, event) ? event_in_capture(event) : VG_INVALID_HANDLE;
    uint64_t launch = status == VG_OK ? event->at_launch : 0;
    pthread_mutex_unlock(&queue_lock);
    return waited(status, launch);
}

vg_status vg_event_elapsed_ns(const vg_event *start, const vg_event *end, int64_t *elapsed_ns)
{
    pthread_mutex_lock(&queue_lock);
    bool known = holds(&events, start) && holds(&events, end);
    vg_status status = known && start->recorded && end->recorded ? VG_OK : VG_INVALID_HANDLE;
    if (status == VG_OK && (start->capture_id != 0 || end->capture_id != 0))
        status = VG_CAPTURED_EVENT;
    if (status == VG_OK)
        *elapsed_ns = (int64_t)end->at_ns - (int64_t)start->at_ns;
    pthread_mutex_unlock(&queue_lock);
    return status;
}
