/* Streams and events. Work is done the moment it is asked for, so a stream orders nothing; handles are checked all the same. */
#include "queue.h"

#include <stdlib.h>

static handle_set streams, events;

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
        *event = (vg_event){.recorded = true, .at_ns = vg_clock_ns()};
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

vg_status vg_event_query(const vg_event *event)
{
    pthread_mutex_lock(&queue_lock);
    vg_status status = holds(&events, event) ? event_in_capture(event) : VG_INVALID_HANDLE;
    pthread_mutex_unlock(&queue_lock);
    return status;
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
