/* libnccl: communicators between emulated cards.
 *
 * A rank needs no peer: nothing is sent. What a collective leaves in small known tensors
 * is worked out above (known/collectives.py).
 */
#include "nccl.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define NO_COLOUR (-1) /* NCCL_SPLIT_NOCOLOR */
#define MOST_RANKS (1 << 20)

typedef struct {
    char bytes[128];
} unique_id; /* ncclUniqueId */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static communicator *communicators; /* the live ones: a stale handle is recognised without being dereferenced */
static _Thread_local const char *last_error = "";

static void take_lock(void) { pthread_mutex_lock(&lock); }
static void give_lock(void) { pthread_mutex_unlock(&lock); }

__attribute__((constructor)) static void survive_fork(void) { pthread_atfork(take_lock, give_lock, give_lock); }

result vg_nccl_failed(result code, const char *why)
{
    last_error = why;
    return code;
}

/* ---- version and words ---------------------------------------------------------------------------------------------------- */

/* The NCCL of torch 2.14, whatever the torch: nothing here knows which one it was built with, and PyTorch names that one by itself
 * (torch.cuda.nccl.version()). Source: nccl.h of NCCL 2.28, NCCL_VERSION_CODE = major * 10000 + minor * 100 + patch. */
result ncclGetVersion(int *version)
{
    *version = 22803;
    return SUCCESS;
}

const char *ncclGetErrorString(result code)
{
    switch (code) {
    case SUCCESS: return "no error";
    case UNHANDLED_CUDA_ERROR: return "unhandled cuda error";
    case SYSTEM_ERROR: return "unhandled system error";
    case INVALID_ARGUMENT: return "invalid argument";
    default: return "not supported by the emulated card";
    }
}

const char *ncclGetLastError(void *own)
{
    (void)own;
    return last_error;
}

/* ---- communicators -------------------------------------------------------------------------------------------------------- */

/* The place that holds the pointer to a live communicator; the lock is held. */
static communicator **place_of(const communicator *own)
{
    communicator **place = &communicators;
    while (*place != NULL && *place != own)
        place = &(*place)->next;
    return place;
}

static result create(communicator **created, int size, int rank, int device)
{
    if (created == NULL || size < 1 || size > MOST_RANKS || rank < 0 || rank >= size)
        return vg_nccl_failed(INVALID_ARGUMENT, "a communicator has 0 <= rank < number of ranks");
    if (device < 0 || device >= vg_card_count())
        return vg_nccl_failed(UNHANDLED_CUDA_ERROR, "Cuda failure 100 'no CUDA-capable device is detected'");
    communicator *own = calloc(1, sizeof *own);
    unsigned char *peers = own != NULL ? calloc((size_t)size, 1) : NULL;
    if (peers == NULL) {
        free(own);
        return vg_nccl_failed(SYSTEM_ERROR, "the host is out of memory");
    }
    *own = (communicator){.rank = rank, .size = size, .device = device, .peers = peers};
    pthread_mutex_lock(&lock);
    own->next = communicators;
    communicators = own;
    pthread_mutex_unlock(&lock);
    *created = own;
    return SUCCESS;
}

static result destroy(communicator *gone)
{
    pthread_mutex_lock(&lock);
    communicator **place = place_of(gone);
    bool live = gone != NULL && *place == gone;
    if (live)
        *place = gone->next;
    pthread_mutex_unlock(&lock);
    if (!live)
        return vg_nccl_failed(INVALID_ARGUMENT, "no such communicator");
    vg_nccl_disconnect(gone);
    free(gone->peers);
    free(gone);
    return SUCCESS;
}

bool vg_nccl_enter(const communicator *own)
{
    pthread_mutex_lock(&lock);
    bool live = own != NULL && *place_of(own) == own;
    if (!live)
        pthread_mutex_unlock(&lock);
    return live;
}

void vg_nccl_leave(void) { pthread_mutex_unlock(&lock); }

/* Copies a live communicator, so that it can be asked without the lock. */
static result look_up(communicator *own, communicator *copy)
{
    pthread_mutex_lock(&lock);
    bool live = own != NULL && *place_of(own) == own;
    if (live)
        *copy = *own;
    pthread_mutex_unlock(&lock);
    return live ? SUCCESS : vg_nccl_failed(INVALID_ARGUMENT, "no such communicator");
}

/* What is in an identity does not matter where nobody is called; it is not zero, and the same in every run. */
result ncclGetUniqueId(unique_id *id)
{
    if (id == NULL)
        return vg_nccl_failed(INVALID_ARGUMENT, "no place for a unique id");
    memset(id, 0, sizeof *id);
    memcpy(id->bytes, "vramguard", sizeof "vramguard");
    return SUCCESS;
}

result ncclCommGetUniqueId(communicator *own, unique_id *id)
{
    communicator copy;
    return look_up(own, &copy) == SUCCESS ? ncclGetUniqueId(id) : INVALID_ARGUMENT;
}

result ncclCommInitRank(communicator **created, int size, unique_id id, int rank)
{
    (void)id;
    return create(created, size, rank, vg_current_device());
}

result ncclCommInitRankConfig(communicator **created, int size, unique_id id, int rank, const void *configuration)
{
    (void)configuration;
    return ncclCommInitRank(created, size, id, rank);
}

result ncclCommInitRankScalable(communicator **created, int size, int rank, int id_count, const unique_id *ids, const void *configuration)
{
    (void)ids, (void)configuration;
    return id_count >= 1 ? create(created, size, rank, vg_current_device()) : vg_nccl_failed(INVALID_ARGUMENT, "no unique id");
}

result ncclCommInitAll(communicator **created, int device_count, const int *devices)
{
    if (created == NULL || device_count < 1)
        return vg_nccl_failed(INVALID_ARGUMENT, "a communicator has at least 1 device");
    for (int i = 0; i < device_count; i++) {
        result outcome = create(&created[i], device_count, i, devices != NULL ? devices[i] : i);
        if (outcome != SUCCESS) {
            while (i-- > 0)
                destroy(created[i]);
            return outcome;
        }
    }
    return SUCCESS;
}

/* How many others chose this colour is not known where nobody is called, so the part counts as large as the whole: that decides
 * nothing but whether a tree is wanted besides the ring. Torch keeps the size of the part itself, and never asks. The key is the
 * rank in the part, as torch has it. Resources are not shared with the parent, which is NCCL's default (splitShare). */
result ncclCommSplit(communicator *parent, int colour, int key, communicator **created, const void *configuration)
{
    communicator copy;
    (void)configuration;
    result outcome = look_up(parent, &copy);
    if (outcome != SUCCESS || created == NULL || colour < NO_COLOUR)
        return vg_nccl_failed(INVALID_ARGUMENT, "a split has a communicator, and a colour that is not negative");
    *created = NULL;
    return colour == NO_COLOUR ? SUCCESS : create(created, copy.size, key, copy.device);
}

result ncclCommFinalize(communicator *own)
{
    communicator copy;
    return look_up(own, &copy);
}

result ncclCommDestroy(communicator *own) { return own == NULL ? SUCCESS : destroy(own); }
result ncclCommAbort(communicator *own) { return ncclCommDestroy(own); }

result ncclCommGetAsyncError(communicator *own, result *outcome)
{
    communicator copy;
    *outcome = SUCCESS;
    return look_up(own, &copy);
}

result ncclCommCount(communicator *own, int *size)
{
    communicator copy;
    result outcome = look_up(own, &copy);
    *size = outcome == SUCCESS ? copy.size : 0;
    return outcome;
}

result ncclCommUserRank(communicator *own, int *rank)
{
    communicator copy;
    result outcome = look_up(own, &copy);
    *rank = outcome == SUCCESS ? copy.rank : 0;
    return outcome;
}

result ncclCommCuDevice(communicator *own, int *device)
{
    communicator copy;
    result outcome = look_up(own, &copy);
    *device = outcome == SUCCESS ? copy.device : 0;
    return outcome;
}

/* Registration lets a kernel read a buffer in place of a copy; the buffer is in the books already. */
result ncclCommRegister(communicator *own, void *address, size_t size_bytes, void **handle)
{
    communicator copy;
    (void)size_bytes;
    *handle = address;
    return look_up(own, &copy);
}

result ncclCommDeregister(communicator *own, void *handle)
{
    communicator copy;
    (void)handle;
    return look_up(own, &copy);
}

result ncclMemAlloc(void **address, size_t size_bytes)
{
    vg_status outcome = vg_allocate(VG_DEVICE, vg_current_device(), size_bytes, address);
    return outcome == VG_OK ? SUCCESS : vg_nccl_failed(UNHANDLED_CUDA_ERROR, "Cuda failure 2 'out of memory'");
}

result ncclMemFree(void *address) { return vg_release(VG_DEVICE, address) == VG_OK ? SUCCESS : vg_nccl_failed(INVALID_ARGUMENT, "no such memory"); }
