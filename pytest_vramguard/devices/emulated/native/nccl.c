/* libnccl: communicators and collectives between emulated cards. Nothing is sent: a collective is checked, counted by kind and
 * accepted, so that a rank needs no peer. What it leaves in small known tensors is worked out above (known/collectives.py).
 *
 * NCCL keeps buffers on the card, outside PyTorch's allocator. They are allocated from the card here too, when NCCL would connect:
 * at the first collective, and at the first message to or from a peer.
 *
 *   a connection that receives on a channel: LL + LL128 + Simple buffer, rounded up to 2 MiB; one that sends: a header, 2 MiB
 *   ring: 1 of each on every channel; a tree, which all-reduce uses, as much again, unless there are but 2 ranks
 *   send and recv: 1 on each of the peer's channels, which are the channels rounded up to a power of 2
 *
 * Sources: NVIDIA/nccl src/include/device.h and comm.h for the sizes (LL 8 lines * 512 threads * 8 steps * 16 B = 524288 B; LL128
 * 120 elements * 640 threads * 8 steps * 8 B = 4915200 B); NCCL user guide, NCCL_BUFFSIZE: 4 MiB. Measured: NVIDIA/nccl issue 1685,
 * 8 x H100: allocations of 10485760 B and 2097152 B, 32 channels for each pair, 3.3 GB for an all-to-all (2.8 GB here); issue 964,
 * A100 with NVLink: 544 MB for the first communicator of 2 ranks and 688 MB of 4 (302 MB and 604 MB here: kernels are not in it).
 * NVLS (multicast on NVSwitch) is not counted. Cards without peer access use buffers in host memory (user guide, NCCL_SHM_DISABLE).
 */
#include "core.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef int result; /* ncclResult_t */
#define SUCCESS 0
#define UNHANDLED_CUDA_ERROR 1
#define SYSTEM_ERROR 2
#define INVALID_ARGUMENT 4
#define INVALID_USAGE 5

#define TYPE_COUNT 12     /* ncclNumTypes of NCCL 2.30 */
#define BUILT_IN_OPERATIONS 5
#define NO_COLOUR (-1)    /* NCCL_SPLIT_NOCOLOR */
#define MOST_RANKS (1 << 20)

#define MIB ((size_t)1 << 20)
#define LL_BYTES ((size_t)8 * 512 * 8 * 16)
#define LL128_BYTES ((size_t)120 * 640 * 8 * 8)
#define SIMPLE_BYTES (4 * MIB)
#define SEND_BYTES (2 * MIB)

typedef struct {
    char bytes[128];
} unique_id; /* ncclUniqueId */

typedef struct buffer {
    void *address;
    size_t size_bytes;
    struct buffer *next;
} buffer;

/* A communicator, as one rank holds it. */
typedef struct communicator {
    int rank, size, device;
    bool ring, tree;
    unsigned char *peers; /* for each rank: bit 0 connected to send, bit 1 to receive */
    buffer *buffers;
    int operations; /* user's reductions so far */
    struct communicator *next;
} communicator;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static communicator *communicators; /* the live ones: a stale handle is recognised without being dereferenced */
static _Thread_local const char *last_error = "";

static void take_lock(void) { pthread_mutex_lock(&lock); }
static void give_lock(void) { pthread_mutex_unlock(&lock); }

__attribute__((constructor)) static void survive_fork(void) { pthread_atfork(take_lock, give_lock, give_lock); }

static result failed(result code, const char *why)
{
    last_error = why;
    return code;
}

/* ---- version and words ---------------------------------------------------------------------------------------------------- */

/* Source: nccl.h of NCCL 2.28, NCCL_VERSION_CODE = major * 10000 + minor * 100 + patch. */
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

/* ---- buffers; the lock is held -------------------------------------------------------------------------------------------- */

static size_t environment_number(const char *name, size_t otherwise)
{
    const char *text = getenv(name);
    char *end;
    unsigned long long number = text != NULL ? strtoull(text, &end, 10) : 0;
    return text != NULL && *text >= '0' && *text <= '9' && *end == '\0' ? (size_t)number : otherwise;
}

static size_t channels(void)
{
    if (environment_number("NCCL_P2P_DISABLE", 0) != 0)
        return 0; /* buffers in host memory */
    size_t own = (size_t)vg_the_card()->nccl_channels;
    size_t most = environment_number("NCCL_MAX_NCHANNELS", environment_number("NCCL_MAX_CTAS", own));
    return most < own ? most : own;
}

static size_t peer_channels(void)
{
    size_t power = channels() > 0;
    while (power < channels())
        power *= 2;
    return power;
}

static size_t receive_bytes(void)
{
    size_t whole = LL_BYTES + LL128_BYTES + environment_number("NCCL_BUFFSIZE", SIMPLE_BYTES);
    return (whole + 2 * MIB - 1) / (2 * MIB) * (2 * MIB);
}

static result hold(communicator *own, size_t size_bytes)
{
    if (size_bytes == 0)
        return SUCCESS;
    buffer *added = malloc(sizeof *added);
    if (added == NULL)
        return failed(SYSTEM_ERROR, "the host is out of memory");
    if (vg_allocate(VG_DEVICE, own->device, size_bytes, &added->address) != VG_OK) {
        free(added);
        return failed(UNHANDLED_CUDA_ERROR, "Cuda failure 2 'out of memory'");
    }
    added->size_bytes = size_bytes;
    added->next = own->buffers;
    own->buffers = added;
    vg_hold(own->device, (int64_t)size_bytes);
    return SUCCESS;
}

static result connect_ring(communicator *own)
{
    result outcome = own->ring || own->size == 1 ? SUCCESS : hold(own, channels() * (receive_bytes() + SEND_BYTES));
    own->ring = own->ring || outcome == SUCCESS;
    return outcome;
}

static result connect_tree(communicator *own)
{
    result outcome = own->tree || own->size <= 2 ? SUCCESS : hold(own, channels() * (receive_bytes() + SEND_BYTES));
    own->tree = own->tree || outcome == SUCCESS;
    return outcome;
}

static result connect_peer(communicator *own, int peer, unsigned char direction)
{
    if (peer == own->rank || (own->peers[peer] & direction))
        return SUCCESS;
    result outcome = hold(own, peer_channels() * (direction == 1 ? SEND_BYTES : receive_bytes()));
    if (outcome == SUCCESS)
        own->peers[peer] |= direction;
    return outcome;
}

static result connect_everybody(communicator *own)
{
    result outcome = SUCCESS;
    for (int peer = 0; peer < own->size && outcome == SUCCESS; peer++) {
        outcome = connect_peer(own, peer, 1);
        if (outcome == SUCCESS)
            outcome = connect_peer(own, peer, 2);
    }
    return outcome;
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
        return failed(INVALID_ARGUMENT, "a communicator has 0 <= rank < number of ranks");
    if (device < 0 || device >= vg_card_count())
        return failed(UNHANDLED_CUDA_ERROR, "Cuda failure 100 'no CUDA-capable device is detected'");
    communicator *own = calloc(1, sizeof *own);
    unsigned char *peers = own != NULL ? calloc((size_t)size, 1) : NULL;
    if (peers == NULL) {
        free(own);
        return failed(SYSTEM_ERROR, "the host is out of memory");
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
        return failed(INVALID_ARGUMENT, "no such communicator");
    for (buffer *at = gone->buffers, *next; at != NULL; at = next) {
        next = at->next;
        vg_release(VG_DEVICE, at->address);
        vg_hold(gone->device, -(int64_t)at->size_bytes);
        free(at);
    }
    free(gone->peers);
    free(gone);
    return SUCCESS;
}

/* Copies a live communicator, so that it can be asked without the lock. */
static result look_up(communicator *own, communicator *copy)
{
    pthread_mutex_lock(&lock);
    bool live = own != NULL && *place_of(own) == own;
    if (live)
        *copy = *own;
    pthread_mutex_unlock(&lock);
    return live ? SUCCESS : failed(INVALID_ARGUMENT, "no such communicator");
}

/* What is in an identity does not matter where nobody is called; it is not zero, and the same in every run. */
result ncclGetUniqueId(unique_id *id)
{
    if (id == NULL)
        return failed(INVALID_ARGUMENT, "no place for a unique id");
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
    return id_count >= 1 ? create(created, size, rank, vg_current_device()) : failed(INVALID_ARGUMENT, "no unique id");
}

result ncclCommInitAll(communicator **created, int device_count, const int *devices)
{
    if (created == NULL || device_count < 1)
        return failed(INVALID_ARGUMENT, "a communicator has at least 1 device");
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
        return failed(INVALID_ARGUMENT, "a split has a communicator, and a colour that is not negative");
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
    return outcome == VG_OK ? SUCCESS : failed(UNHANDLED_CUDA_ERROR, "Cuda failure 2 'out of memory'");
}

result ncclMemFree(void *address) { return vg_release(VG_DEVICE, address) == VG_OK ? SUCCESS : failed(INVALID_ARGUMENT, "no such memory"); }

/* ---- reductions and groups of calls ----------------------------------------------------------------------------------------- */

result ncclRedOpCreatePreMulSum(int *operation, void *scalar, int type, int residence, communicator *own)
{
    (void)scalar, (void)residence;
    pthread_mutex_lock(&lock);
    bool good = own != NULL && *place_of(own) == own && type >= 0 && type < TYPE_COUNT;
    if (good)
        *operation = BUILT_IN_OPERATIONS + own->operations++;
    pthread_mutex_unlock(&lock);
    return good ? SUCCESS : failed(INVALID_ARGUMENT, "a reduction has a communicator and a type");
}

result ncclRedOpDestroy(int operation, communicator *own)
{
    communicator copy;
    result outcome = look_up(own, &copy);
    bool known = outcome == SUCCESS && operation >= BUILT_IN_OPERATIONS && operation < BUILT_IN_OPERATIONS + copy.operations;
    return known ? SUCCESS : failed(INVALID_ARGUMENT, "no such reduction");
}

/* Calls are done when they are made, so a group of them has nothing left to do. */
static _Thread_local int group_depth;

result ncclGroupStart(void)
{
    group_depth++;
    return SUCCESS;
}

result ncclGroupEnd(void)
{
    if (group_depth == 0)
        return failed(INVALID_USAGE, "ncclGroupEnd without ncclGroupStart");
    group_depth--;
    return SUCCESS;
}

/* ---- collectives ---------------------------------------------------------------------------------------------------------- */

/* What a call says; a field that it does not have is valid as it stands. */
typedef struct {
    const void *from, *to;
    size_t count;
    int type, operation, root;
} call;

static size_t size_of(int type)
{
    /* int8 uint8 int32 uint32 int64 uint64 half float double bfloat16 float8e4m3 float8e5m2 */
    static const unsigned char sizes[TYPE_COUNT] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1};
    return sizes[type];
}

static const char *fault_in(const call *what, const communicator *own)
{
    if (what->type < 0 || what->type >= TYPE_COUNT)
        return "unknown type";
    if (what->operation < 0 || what->operation >= BUILT_IN_OPERATIONS + own->operations)
        return "unknown reduction";
    if (what->root < 0 || what->root >= own->size)
        return "no such rank";
    if (what->count > SIZE_MAX / 8 / (size_t)own->size)
        return "more elements than there is memory";
    if (what->count > 0 && (what->from == NULL || what->to == NULL))
        return "no buffer";
    return NULL;
}

typedef enum { RING = 1, TREE = 2, EVERYBODY = 4, TO_PEER = 8, FROM_PEER = 16 } connections;

static result connect_all(communicator *own, unsigned wanted, int peer)
{
    result outcome = wanted & RING ? connect_ring(own) : SUCCESS;
    if (outcome == SUCCESS && (wanted & TREE))
        outcome = connect_tree(own);
    if (outcome == SUCCESS && (wanted & EVERYBODY))
        outcome = connect_everybody(own);
    if (outcome == SUCCESS && (wanted & (TO_PEER | FROM_PEER)))
        outcome = connect_peer(own, peer, wanted & TO_PEER ? 1 : 2);
    return outcome;
}

/* Counts the bytes as the caller gives them: what one rank contributes to a gather, or gets of a scatter. */
static result communicate(communicator *own, call what, unsigned wanted, vg_counter kind)
{
    pthread_mutex_lock(&lock);
    bool live = own != NULL && *place_of(own) == own;
    const char *fault = live ? fault_in(&what, own) : "no such communicator";
    result outcome = fault != NULL ? failed(INVALID_ARGUMENT, fault) : SUCCESS;
    if (outcome == SUCCESS && what.count > 0)
        outcome = connect_all(own, wanted, what.root);
    pthread_mutex_unlock(&lock);
    if (outcome == SUCCESS) {
        vg_count(VG_COMPUTE_CALLS, 1);
        vg_count(kind, what.count * size_of(what.type));
    }
    return outcome;
}

result ncclAllReduce(const void *from, void *to, size_t count, int type, int operation, communicator *own, void *stream)
{
    (void)stream;
    return communicate(own, (call){from, to, count, type, operation, 0}, RING | TREE, VG_BYTES_ALL_REDUCED);
}

result ncclReduce(const void *from, void *to, size_t count, int type, int operation, int root, communicator *own, void *stream)
{
    (void)stream, (void)to; /* only the root has a place for the result */
    return communicate(own, (call){from, from, count, type, operation, root}, RING, VG_BYTES_BROADCAST);
}

result ncclBroadcast(const void *from, void *to, size_t count, int type, int root, communicator *own, void *stream)
{
    (void)stream, (void)from; /* only the root has something to say */
    return communicate(own, (call){to, to, count, type, 0, root}, RING, VG_BYTES_BROADCAST);
}

result ncclBcast(void *both, size_t count, int type, int root, communicator *own, void *stream)
{
    return ncclBroadcast(both, both, count, type, root, own, stream);
}

result ncclAllGather(const void *from, void *to, size_t count, int type, communicator *own, void *stream)
{
    (void)stream;
    return communicate(own, (call){from, to, count, type, 0, 0}, RING, VG_BYTES_ALL_GATHERED);
}

result ncclReduceScatter(const void *from, void *to, size_t count, int type, int operation, communicator *own, void *stream)
{
    (void)stream;
    return communicate(own, (call){from, to, count, type, operation, 0}, RING, VG_BYTES_REDUCE_SCATTERED);
}

result ncclAlltoAll(const void *from, void *to, size_t count, int type, communicator *own, void *stream)
{
    (void)stream;
    return communicate(own, (call){from, to, count, type, 0, 0}, EVERYBODY, VG_BYTES_EXCHANGED);
}

result ncclGather(const void *from, void *to, size_t count, int type, int root, communicator *own, void *stream)
{
    (void)stream, (void)to;
    return communicate(own, (call){from, from, count, type, 0, root}, EVERYBODY, VG_BYTES_EXCHANGED);
}

result ncclScatter(const void *from, void *to, size_t count, int type, int root, communicator *own, void *stream)
{
    (void)stream, (void)from;
    return communicate(own, (call){to, to, count, type, 0, root}, EVERYBODY, VG_BYTES_EXCHANGED);
}

result ncclSend(const void *from, size_t count, int type, int peer, communicator *own, void *stream)
{
    (void)stream;
    return communicate(own, (call){from, from, count, type, 0, peer}, TO_PEER, VG_BYTES_EXCHANGED);
}

result ncclRecv(void *to, size_t count, int type, int peer, communicator *own, void *stream)
{
    (void)stream;
    return communicate(own, (call){to, to, count, type, 0, peer}, FROM_PEER, VG_BYTES_EXCHANGED);
}
