/* libnccl: collectives, reductions and groups of calls. */
#include "nccl.h"

/* ---- reductions and groups of calls ----------------------------------------------------------------------------------------- */

result ncclRedOpCreatePreMulSum(int *operation, void *scalar, int type, int residence, communicator *own)
{
    (void)scalar, (void)residence;
    if (type < 0 || type >= TYPE_COUNT || !vg_nccl_enter(own))
        return vg_nccl_failed(INVALID_ARGUMENT, "a reduction has a communicator and a type");
    *operation = BUILT_IN_OPERATIONS + own->operations++;
    vg_nccl_leave();
    return SUCCESS;
}

result ncclRedOpDestroy(int operation, communicator *own)
{
    if (!vg_nccl_enter(own))
        return vg_nccl_failed(INVALID_ARGUMENT, "no such communicator");
    bool known = operation >= BUILT_IN_OPERATIONS && operation < BUILT_IN_OPERATIONS + own->operations;
    vg_nccl_leave();
    return known ? SUCCESS : vg_nccl_failed(INVALID_ARGUMENT, "no such reduction");
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
        return vg_nccl_failed(INVALID_USAGE, "ncclGroupEnd without ncclGroupStart");
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

/* Counts the bytes as the caller gives them: what one rank contributes to a gather, or gets of a scatter. */
static result communicate(communicator *own, call what, unsigned wanted, vg_counter kind)
{
    if (!vg_nccl_enter(own))
        return vg_nccl_failed(INVALID_ARGUMENT, "no such communicator");
    const char *fault = fault_in(&what, own);
    result outcome = fault != NULL ? vg_nccl_failed(INVALID_ARGUMENT, fault) : SUCCESS;
    if (outcome == SUCCESS && what.count > 0)
        outcome = vg_nccl_connect(own, wanted, what.root);
    vg_nccl_leave();
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
