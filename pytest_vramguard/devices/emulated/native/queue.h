/* What the files of the core share about work in order: handles, streams, events and captures.
 *
 * Nothing here is seen outside libvramguard_core.so. Everything is used with `queue_lock` held, but for adopt and destroy.
 * Handles live in growing tables and are never handed out twice at the same time, so a stale or foreign handle is recognised
 * without being dereferenced.
 */
#ifndef VRAMGUARD_QUEUE_H
#define VRAMGUARD_QUEUE_H

#include "core.h"

#include <pthread.h>

/* Streams that may take part in one capture. */
#define LANES 16

typedef struct capture capture;

struct vg_stream {
    unsigned flags;
    int priority;
    capture *captured_by; /* or NULL */
    int lane;             /* which of the capture's streams it is */
};

struct vg_event {
    bool recorded;
    uint64_t at_ns;
    uint64_t at_launch;   /* how much work came before it, on any stream */
    unsigned asked;       /* how often it was asked for in vain */
    uint64_t capture_id;  /* of the capture that it was last recorded in, or 0 */
    uint64_t seen[LANES]; /* work of each lane of that capture that comes before it, */
    vg_node *last[LANES]; /* and the last piece of it */
};

/* A set of live pointers: open addressing, power-of-two capacity, at most half full. */
typedef struct {
    const void **slots;
    size_t capacity;
    size_t live;
    size_t filled; /* live and tombstones */
} handle_set;

extern pthread_mutex_t queue_lock;

/* ---- handles.c ---- */
bool holds(const handle_set *set, const void *handle);
bool add(handle_set *set, const void *handle);
bool remove_from(handle_set *set, const void *handle);
/* Takes ownership of `handle`; returns it once it is known, else frees it and returns NULL. */
void *adopt(handle_set *set, void *handle);
bool destroy(handle_set *set, void *handle);

/* ---- queue.c ---- */
/* The stream, if it is live and none of the default ones. */
vg_stream *own_stream(const void *stream);
static inline bool is_default_stream(const void *stream) { return (uintptr_t)stream <= 2; }

/* Work of this process so far, on any stream. */
uint64_t launched(void);
/* Notes that the card has done so much work. */
void reach(uint64_t launch);

/* ---- captures.c ---- */
/* A stream that is destroyed spoils the capture that it takes part in, or ends it without a graph if it is the origin. */
void leave_capture(vg_stream *gone);
/* The error, if any, of an event that is recorded on, or waited for by, a stream (NULL for a default one). */
vg_status record_in_capture(vg_event *event, const vg_stream *stream);
vg_status wait_in_capture(vg_stream *stream, const vg_event *event);
/* The error, if any, of asking or waiting for an event. */
vg_status event_in_capture(const vg_event *event);
/* The error, if any, of asking or waiting for a stream. */
vg_status stream_waiting(const void *stream);
/* Spoils every capture; `why` if there was one. */
vg_status spoil_all(vg_status why);
/* Takes work into the graph that `stream` is captured into, if it is. */
vg_status capture_work(const void *stream, const vg_work *work, bool *captured);

/* ---- synchronise.c ---- */
/* Counts a wait of the host until so much work was done; passes on the error that forbade it. Called without the lock. */
vg_status waited(vg_status permitted, uint64_t launch);

/* ---- graphs.c ---- */
struct vg_node {
    vg_work work;
    size_t dependency_count;
    vg_node *dependencies[LANES]; /* among them all that it follows at once, and perhaps others that those follow */
};

vg_graph *new_graph(void);
/* Adds work that follows `dependencies`, of which NULLs are passed over; NULL if the host has no memory. */
vg_node *append(vg_graph *graph, const vg_work *work, vg_node *const dependencies[LANES]);
void free_graph(vg_graph *graph);
/* Makes a graph known to callers; false if the host has no memory. */
bool publish(vg_graph *graph);

#endif
