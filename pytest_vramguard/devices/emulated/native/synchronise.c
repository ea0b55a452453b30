/* Waiting for work: nothing is left to be done, so a wait is counted, and lets the card catch up. */
#include "queue.h"

#include <stdatomic.h>

static void (*_Atomic listens)(void);

vg_status waited(vg_status permitted, uint64_t launch)
{
    if (permitted != VG_OK)
        return permitted;
    reach(launch);
    vg_count(VG_SYNCHRONISATIONS, 1);
    vg_settle_pools();
    void (*listener)(void) = atomic_load(&listens);
    if (listener != NULL)
        listener();
    return VG_OK;
}

void vg_listen(void (*listener)(void)) { atomic_store(&listens, listener); }

void vg_note_read(size_t size_bytes)
{
    vg_count(VG_BYTES_TO_HOST, size_bytes);
    waited(VG_OK, launched());
}

vg_status vg_synchronise(void)
{
    pthread_mutex_lock(&queue_lock);
    vg_status status = spoil_all(VG_CAPTURE_UNSUPPORTED);
    pthread_mutex_unlock(&queue_lock);
    return waited(status, launched());
}

vg_status vg_stream_query(const void *stream)
{
    pthread_mutex_lock(&queue_lock);
    bool known = is_default_stream(stream) || own_stream(stream) != NULL;
    vg_status status = known ? stream_waiting(stream) : VG_INVALID_HANDLE;
    pthread_mutex_unlock(&queue_lock);
    return status;
}

vg_status vg_stream_synchronise(const void *stream)
{
    return waited(vg_stream_query(stream), launched());
}
