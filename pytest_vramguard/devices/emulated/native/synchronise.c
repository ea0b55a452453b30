/* Waiting for work: all of it is done when it is asked for, so what is left to do is to count, and to say where it is forbidden. */
#include "queue.h"

#include <stdatomic.h>

static void (*_Atomic listens)(void);

static vg_status synchronised(vg_status status)
{
    if (status != VG_OK)
        return status;
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
    synchronised(VG_OK);
}

vg_status vg_synchronise(void)
{
    pthread_mutex_lock(&queue_lock);
    vg_status status = spoil_all(VG_CAPTURE_UNSUPPORTED);
    pthread_mutex_unlock(&queue_lock);
    return synchronised(status);
}

vg_status vg_stream_query(const void *stream)
{
    pthread_mutex_lock(&queue_lock);
    bool known = is_default_stream(stream) || own_stream(stream) != NULL;
    vg_status status = known ? stream_waiting(stream) : VG_INVALID_HANDLE;
    pthread_mutex_unlock(&queue_lock);
    return status;
}

vg_status vg_synchronise_event(void)
{
    return synchronised(VG_OK);
}

vg_status vg_stream_synchronise(const void *stream)
{
    return synchronised(vg_stream_query(stream));
}
