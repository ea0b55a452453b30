/* Streams under capture: what is asked of them becomes a graph instead of being done.
 *
 * A capture begins on one stream, its origin, and takes in each stream that waits for an event recorded in it. At the end the
 * origin must have waited for all they did; each lane therefore counts its work, and keeps how much of each other lane it has
 * waited for. Whatever is not permitted spoils the capture, whose end then fails.
 * Source: CUDA C++ Programming Guide 13.0, "Creating a Graph Using Stream Capture"; cuda_runtime_api.h of CUDA 13.0,
 * cudaThreadExchangeStreamCaptureMode.
 */
#include "queue.h"

#include <stdlib.h>
#include <string.h>

#define NON_BLOCKING 1u /* cudaStreamNonBlocking: takes no part in the order of the default stream */
#define PER_THREAD_STREAM 2u

struct capture {
    uint64_t id;
    vg_capture_mode mode;
    pthread_t thread;
    bool spoiled;
    vg_graph *graph;
    int lane_count;
    vg_stream *lanes[LANES]; /* NULL for a stream that was destroyed */
    uint64_t seen[LANES][LANES]; /* seen[a][b]: work of lane b that lane a follows; seen[a][a]: its own */
    vg_node *last[LANES][LANES]; /* the last piece of that work */
    vg_node *listed[LANES];      /* as last, without gaps, for who asks for it */
    capture *next;
};

static capture *captures;
static uint64_t last_id;
static _Thread_local vg_capture_mode own_mode = VG_CAPTURE_GLOBAL;

/* ---- the lock is held ------------------------------------------------------------------------------------------------------ */

static vg_status spoil(capture *spoiled, vg_status why)
{
    spoiled->spoiled = true;
    return why;
}

static capture *capture_by_id(uint64_t id)
{
    capture *each = captures;
    while (each != NULL && each->id != id)
        each = each->next;
    return each;
}

static capture *capturing(const void *stream)
{
    const vg_stream *own = own_stream(stream);
    return own != NULL ? own->captured_by : NULL;
}

static bool has_blocking_lane(const capture *one)
{
    for (int lane = 0; lane < one->lane_count; lane++)
        if (one->lanes[lane] != NULL && !(one->lanes[lane]->flags & NON_BLOCKING))
            return true;
    return false;
}

/* The default stream waits for every blocking stream, which one under capture cannot be waited for. */
static vg_status default_stream_waits(const void *stream)
{
    vg_status status = VG_OK;
    if ((uintptr_t)stream < PER_THREAD_STREAM)
        for (capture *each = captures; each != NULL; each = each->next)
            if (has_blocking_lane(each))
                status = spoil(each, VG_CAPTURE_IMPLICIT);
    return status;
}

/* Whether `one` forbids this thread what may wait for the card. */
static bool forbids_waiting(const capture *one)
{
    bool own = pthread_equal(one->thread, pthread_self());
    if (own_mode == VG_CAPTURE_RELAXED || one->mode == VG_CAPTURE_RELAXED)
        return false;
    return own || (own_mode == VG_CAPTURE_GLOBAL && one->mode == VG_CAPTURE_GLOBAL);
}

static vg_status waiting(void)
{
    vg_status status = VG_OK;
    for (capture *each = captures; each != NULL; each = each->next)
        if (forbids_waiting(each))
            status = spoil(each, VG_CAPTURE_UNSUPPORTED);
    return status;
}

vg_status stream_waiting(const void *stream)
{
    capture *of = capturing(stream);
    return of != NULL ? spoil(of, VG_CAPTURE_UNSUPPORTED) : default_stream_waits(stream);
}

vg_status spoil_all(vg_status why)
{
    vg_status status = VG_OK;
    for (capture *each = captures; each != NULL; each = each->next)
        status = spoil(each, why);
    return status;
}

static bool join(capture *joined, vg_stream *stream)
{
    if (joined->lane_count == LANES)
        return false;
    stream->captured_by = joined;
    stream->lane = joined->lane_count++;
    joined->lanes[stream->lane] = stream;
    return true;
}

static void strike_out(capture *ended)
{
    for (int lane = 0; lane < ended->lane_count; lane++)
        if (ended->lanes[lane] != NULL)
            ended->lanes[lane]->captured_by = NULL;
    capture **link = &captures;
    while (*link != ended)
        link = &(*link)->next;
    *link = ended->next;
    free(ended);
}

void leave_capture(vg_stream *gone)
{
    capture *left = gone->captured_by;
    if (left == NULL)
        return;
    left->lanes[gone->lane] = NULL;
    left->spoiled = true;
    if (gone->lane == 0) { /* nobody can end it any more */
        free_graph(left->graph);
        strike_out(left);
    }
}

vg_status record_in_capture(vg_event *event, const vg_stream *stream)
{
    capture *of = stream != NULL ? stream->captured_by : NULL;
    if (of == NULL)
        return stream == NULL ? default_stream_waits(NULL) : VG_OK;
    if (of->spoiled)
        return VG_CAPTURE_INVALIDATED;
    event->capture_id = of->id;
    memcpy(event->seen, of->seen[stream->lane], sizeof event->seen);
    memcpy(event->last, of->last[stream->lane], sizeof event->last);
    return VG_OK;
}

vg_status wait_in_capture(vg_stream *stream, const vg_event *event)
{
    capture *of = stream != NULL ? stream->captured_by : NULL, *from = capture_by_id(event->capture_id);
    if (!event->recorded || (of == NULL && event->capture_id == 0))
        return VG_OK;
    if (of != NULL && of->spoiled)
        return VG_CAPTURE_INVALIDATED;
    if (from == NULL)
        return of != NULL ? spoil(of, VG_CAPTURE_ISOLATION) : VG_CAPTURED_EVENT;
    if (from->spoiled)
        return VG_CAPTURE_INVALIDATED;
    if (stream == NULL)
        return spoil(from, VG_CAPTURE_IMPLICIT);
    if (of == NULL && !join(from, stream))
        return (vg_status)vg_refuse("a capture of more than 16 streams", spoil(from, VG_CAPTURE_UNSUPPORTED));
    if (of != NULL && of != from)
        return spoil(from, spoil(of, VG_CAPTURE_MERGE));
    for (int lane = 0; lane < LANES; lane++)
        if (event->seen[lane] > from->seen[stream->lane][lane]) {
            from->seen[stream->lane][lane] = event->seen[lane];
            from->last[stream->lane][lane] = event->last[lane];
        }
    return VG_OK;
}

vg_status event_in_capture(const vg_event *event)
{
    capture *of = capture_by_id(event->capture_id);
    if (event->capture_id == 0)
        return waiting();
    return of != NULL ? spoil(of, VG_CAPTURED_EVENT) : VG_CAPTURED_EVENT;
}

static bool joined_up(const capture *ending)
{
    for (int lane = 1; lane < ending->lane_count; lane++)
        if (ending->seen[0][lane] < ending->seen[lane][lane])
            return false;
    return true;
}

static vg_status verdict_on(const capture *ending, const vg_stream *stream)
{
    if (ending->mode != VG_CAPTURE_RELAXED && !pthread_equal(ending->thread, pthread_self()))
        return VG_CAPTURE_WRONG_THREAD;
    if (stream->lane != 0)
        return VG_CAPTURE_UNMATCHED;
    if (ending->spoiled)
        return VG_CAPTURE_INVALIDATED;
    return joined_up(ending) ? VG_OK : VG_CAPTURE_UNJOINED;
}

static vg_status begin(vg_stream *stream, vg_capture_mode mode)
{
    capture *made = calloc(1, sizeof *made);
    vg_graph *graph = new_graph();
    if (made == NULL || graph == NULL) {
        free(made);
        free_graph(graph);
        return VG_HOST_EXHAUSTED;
    }
    *made = (capture){.id = ++last_id, .mode = mode, .thread = pthread_self(), .graph = graph, .next = captures};
    captures = made;
    join(made, stream);
    return VG_OK;
}

/* ---- captures -------------------------------------------------------------------------------------------------------------- */

vg_status vg_capture_begin(const void *stream, vg_capture_mode mode)
{
    pthread_mutex_lock(&queue_lock);
    vg_stream *own = own_stream(stream);
    vg_status status = is_default_stream(stream) ? VG_CAPTURE_UNSUPPORTED : own == NULL ? VG_INVALID_HANDLE : VG_OK;
    if (status == VG_OK)
        status = own->captured_by != NULL ? VG_ILLEGAL_STATE : begin(own, mode);
    pthread_mutex_unlock(&queue_lock);
    return status;
}

vg_status vg_capture_end(const void *stream, vg_graph **graph)
{
    *graph = NULL;
    pthread_mutex_lock(&queue_lock);
    const vg_stream *own = own_stream(stream);
    capture *ending = own != NULL ? own->captured_by : NULL;
    vg_status status = own == NULL && !is_default_stream(stream) ? VG_INVALID_HANDLE : VG_ILLEGAL_STATE;
    if (ending != NULL) {
        vg_graph *captured = ending->graph;
        status = verdict_on(ending, own);
        bool over = status != VG_CAPTURE_WRONG_THREAD && status != VG_CAPTURE_UNMATCHED;
        if (!over)
            ending->spoiled = true;
        else
            strike_out(ending);
        if (status == VG_OK && !publish(captured))
            status = VG_HOST_EXHAUSTED;
        if (status == VG_OK)
            *graph = captured;
        else if (over)
            free_graph(captured);
    }
    pthread_mutex_unlock(&queue_lock);
    return status;
}

vg_status vg_capture_of(const void *stream, vg_capture_state *state, uint64_t *id, vg_graph **graph)
{
    pthread_mutex_lock(&queue_lock);
    bool known = is_default_stream(stream) || own_stream(stream) != NULL;
    const capture *of = capturing(stream);
    *state = of == NULL ? VG_CAPTURE_NONE : of->spoiled ? VG_CAPTURE_SPOILED : VG_CAPTURE_ACTIVE;
    if (*state == VG_CAPTURE_ACTIVE && id != NULL)
        *id = of->id;
    if (*state == VG_CAPTURE_ACTIVE && graph != NULL)
        *graph = of->graph;
    pthread_mutex_unlock(&queue_lock);
    return known ? VG_OK : VG_INVALID_HANDLE;
}

bool vg_captured(const void *stream)
{
    vg_capture_state state;
    return vg_capture_of(stream, &state, NULL, NULL) == VG_OK && state != VG_CAPTURE_NONE;
}

/* The lock is held. */
static vg_status take_in(capture *of, int lane, const vg_work *work)
{
    if (of->spoiled)
        return VG_CAPTURE_INVALIDATED;
    vg_node *node = append(of->graph, work, of->last[lane]);
    if (node == NULL)
        return VG_HOST_EXHAUSTED;
    of->seen[lane][lane]++;
    of->last[lane][lane] = node;
    return VG_OK;
}

vg_status capture_work(const void *stream, const vg_work *work, bool *captured)
{
    pthread_mutex_lock(&queue_lock);
    capture *of = capturing(stream);
    vg_status status = is_default_stream(stream) || own_stream(stream) != NULL ? VG_OK : VG_INVALID_HANDLE;
    *captured = of != NULL;
    if (of != NULL)
        status = take_in(of, own_stream(stream)->lane, work);
    else if (status == VG_OK)
        status = default_stream_waits(stream);
    pthread_mutex_unlock(&queue_lock);
    return status;
}

void vg_capture_dependencies(const void *stream, vg_node ***nodes, size_t *count)
{
    pthread_mutex_lock(&queue_lock);
    capture *of = capturing(stream);
    *count = 0;
    *nodes = of != NULL ? of->listed : NULL;
    for (int lane = 0; of != NULL && lane < LANES; lane++)
        if (of->last[own_stream(stream)->lane][lane] != NULL)
            of->listed[(*count)++] = of->last[own_stream(stream)->lane][lane];
    pthread_mutex_unlock(&queue_lock);
}

vg_capture_mode vg_capture_exchange_mode(vg_capture_mode mode)
{
    vg_capture_mode former = own_mode;
    own_mode = mode;
    return former;
}

vg_status vg_may_wait(void)
{
    pthread_mutex_lock(&queue_lock);
    vg_status status = waiting();
    pthread_mutex_unlock(&queue_lock);
    return status;
}
