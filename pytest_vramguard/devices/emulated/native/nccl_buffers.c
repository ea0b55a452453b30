/* libnccl: the buffers that a communicator takes from the card.
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
#include "nccl.h"

#include <stdlib.h>

#define MIB ((size_t)1 << 20)
#define LL_BYTES ((size_t)8 * 512 * 8 * 16)
#define LL128_BYTES ((size_t)120 * 640 * 8 * 8)
#define SIMPLE_BYTES (4 * MIB)
#define SEND_BYTES (2 * MIB)

struct vg_buffer {
    void *address;
    size_t size_bytes;
    vg_buffer *next;
};

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
    vg_buffer *added = malloc(sizeof *added);
    if (added == NULL)
        return vg_nccl_failed(SYSTEM_ERROR, "the host is out of memory");
    if (vg_allocate(VG_DEVICE, own->device, size_bytes, &added->address) != VG_OK) {
        free(added);
        return vg_nccl_failed(UNHANDLED_CUDA_ERROR, "Cuda failure 2 'out of memory'");
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

result vg_nccl_connect(communicator *own, unsigned wanted, int peer)
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

void vg_nccl_disconnect(communicator *gone)
{
    for (vg_buffer *at = gone->buffers, *next; at != NULL; at = next) {
        next = at->next;
        vg_release(VG_DEVICE, at->address);
        vg_hold(gone->device, -(int64_t)at->size_bytes);
        free(at);
    }
}
