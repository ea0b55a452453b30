/* What the rooms of libnccl share: communicators (nccl.c), their buffers (nccl_buffers.c) and collectives (nccl_collectives.c). */
#ifndef VRAMGUARD_NCCL_H
#define VRAMGUARD_NCCL_H

#include "core.h"

typedef int result; /* ncclResult_t */
#define SUCCESS 0
#define UNHANDLED_CUDA_ERROR 1
#define SYSTEM_ERROR 2
#define INVALID_ARGUMENT 4
#define INVALID_USAGE 5

#define TYPE_COUNT 12 /* ncclNumTypes of NCCL 2.30 */
#define BUILT_IN_OPERATIONS 5

#define ROOM __attribute__((visibility("hidden")))

typedef struct vg_buffer vg_buffer;

/* A communicator, as one rank holds it. */
typedef struct communicator {
    int rank, size, device;
    bool ring, tree;
    unsigned char *peers; /* for each rank: bit 0 connected to send, bit 1 to receive */
    vg_buffer *buffers;
    int operations; /* user's reductions so far */
    struct communicator *next;
} communicator;

/* Returns `code`, and keeps the reason for ncclGetLastError. */
ROOM result vg_nccl_failed(result code, const char *why);
/* Takes the lock if the communicator is live, and says so; whoever has it gives it back. */
ROOM bool vg_nccl_enter(const communicator *own);
ROOM void vg_nccl_leave(void);

typedef enum { RING = 1, TREE = 2, EVERYBODY = 4, TO_PEER = 8, FROM_PEER = 16 } connections;

/* Makes the wanted connections that there are not yet; the lock is held. */
ROOM result vg_nccl_connect(communicator *own, unsigned wanted, int peer);
/* Gives back what a communicator that is known no longer has held. */
ROOM void vg_nccl_disconnect(communicator *gone);

#endif
