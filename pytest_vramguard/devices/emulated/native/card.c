/* The identity of the emulated cards: parsed from text, answered as attributes. */
#include "core.h"

#include <cuda.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CARD_VARIABLE "VRAMGUARD_CARD"
/* The ledger reserves 20 times this much of the 128 TiB of addresses that a process has. */
#define MAX_TOTAL_BYTES ((uint64_t)1 << 40)

typedef enum { TEXT, WHOLE, WIDE } field_kind;

typedef struct {
    const char *key;
    field_kind kind;
    size_t offset;
    size_t capacity; /* of a TEXT field */
} field;

#define WHOLE_FIELD(name) {#name, WHOLE, offsetof(vg_card, name), 0}
#define WIDE_FIELD(name) {#name, WIDE, offsetof(vg_card, name), 0}
#define TEXT_FIELD(name) {#name, TEXT, offsetof(vg_card, name), sizeof(((vg_card *)0)->name)}

static const field fields[] = {
    TEXT_FIELD(name),
    WIDE_FIELD(total_bytes),
    WIDE_FIELD(context_bytes),
    WHOLE_FIELD(count),
    WHOLE_FIELD(major),
    WHOLE_FIELD(minor),
    WHOLE_FIELD(sm_count),
    WHOLE_FIELD(l2_bytes),
    WHOLE_FIELD(shared_memory_per_sm_bytes),
    WHOLE_FIELD(shared_memory_per_block_optin_bytes),
    WHOLE_FIELD(max_threads_per_sm),
    WHOLE_FIELD(max_blocks_per_sm),
    WHOLE_FIELD(memory_bus_bits),
    WHOLE_FIELD(boost_clock_khz),
    WHOLE_FIELD(memory_clock_khz),
    WHOLE_FIELD(ecc),
    WHOLE_FIELD(peer_access),
    WHOLE_FIELD(nccl_channels),
    WHOLE_FIELD(driver_version),
    TEXT_FIELD(driver_name),
};
#define FIELD_COUNT (sizeof fields / sizeof fields[0])

static vg_card card; /* count is 0 until a card is placed */

static const field *field_of(const char *key, size_t length)
{
    for (size_t i = 0; i < FIELD_COUNT; i++)
        if (strlen(fields[i].key) == length && memcmp(fields[i].key, key, length) == 0)
            return &fields[i];
    return NULL;
}

/* Stores `value` in the card; false if it does not fit the field. */
static bool store(const field *target, vg_card *into, const char *value)
{
    char *place = (char *)into + target->offset;
    if (target->kind == TEXT) {
        snprintf(place, target->capacity, "%s", value);
        return strlen(value) < target->capacity && *value != '\0';
    }
    char *end;
    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    if (*value < '0' || *value > '9' || *end != '\0' || errno == ERANGE || (target->kind == WHOLE && number > INT_MAX))
        return false;
    if (target->kind == WHOLE)
        *(int *)place = (int)number;
    else
        *(uint64_t *)place = number;
    return true;
}

static const char *complaint(const char *what, const char *key, size_t length)
{
    static _Thread_local char message[192];
    snprintf(message, sizeof message, "%s: %s %.*s", CARD_VARIABLE, what, (int)length, key);
    return message;
}

static const char *parse(const char *text, vg_card *into)
{
    bool seen[FIELD_COUNT] = {false};
    char value[256];
    for (const char *at = text; *at != '\0';) {
        size_t key_length = strcspn(at, "=;");
        const field *target = field_of(at, key_length);
        if (at[key_length] != '=' || target == NULL)
            return complaint("unknown key", at, key_length);
        if (seen[target - fields])
            return complaint("repeated key", at, key_length);
        const char *start = at + key_length + 1;
        size_t length = strcspn(start, ";");
        if (start[length] != ';')
            return complaint("unended value of", at, key_length);
        snprintf(value, sizeof value, "%.*s", (int)(length < sizeof value ? length : 0), start);
        if (!store(target, into, value))
            return complaint("bad value of", at, key_length);
        seen[target - fields] = true;
        at = start + length + 1;
    }
    for (size_t i = 0; i < FIELD_COUNT; i++)
        if (!seen[i])
            return complaint("missing key", fields[i].key, strlen(fields[i].key));
    return NULL;
}

const char *vg_place(const char *text)
{
    vg_card parsed = {.count = 0};
    const char *fault = parse(text, &parsed);
    if (fault != NULL)
        return fault;
    if (parsed.count > VG_MAX_CARDS)
        return complaint("more than 64 cards asked for by", "count", 5);
    if (parsed.total_bytes > MAX_TOTAL_BYTES)
        return complaint("more than 1 TiB asked for by", "total_bytes", 11);
    if (parsed.context_bytes > parsed.total_bytes)
        return complaint("larger than the card:", "context_bytes", 13);
    for (int device = 0; device < card.count; device++)
        if (vg_usage_of(device).used_bytes != card.context_bytes)
            return complaint("device memory is still allocated; not changed:", "card", 4);
    card = parsed;
    vg_forget_visible();
    vg_reset_peak();
    return NULL;
}

/* A child process, and a command started under LD_PRELOAD, find their card in the environment. */
__attribute__((constructor)) static void place_from_environment(void)
{
    const char *text = getenv(CARD_VARIABLE);
    const char *fault = text != NULL ? vg_place(text) : NULL;
    if (fault != NULL) {
        fprintf(stderr, "vramguard: %s\n", fault);
        _Exit(4);
    }
}

const vg_card *vg_the_card(void)
{
    return &card;
}

void vg_card_uuid(int own, unsigned char bytes[16])
{
    /* Version 8 of RFC 9562 ("vendor's own"): a reader of logs sees "vramgrd" and the index, and no real GPU has it. */
    static const unsigned char pattern[16] = {'v', 'r', 'a', 'm', 'g', 'r', 0x80, 'd', 0x80};
    memcpy(bytes, pattern, sizeof pattern);
    bytes[15] = (unsigned char)own;
}

void vg_card_uuid_text(int own, char text[VG_UUID_TEXT_BYTES])
{
    unsigned char b[16];
    vg_card_uuid(own, b);
    snprintf(text, VG_UUID_TEXT_BYTES, "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2], b[3],
             b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

void vg_uuid(int device, unsigned char bytes[16])
{
    vg_card_uuid(vg_card_of(device), bytes);
}

/* Limits that every card since Turing shares.
 * Source: CUDA C++ Programming Guide 13.0, table "Technical Specifications per Compute Capability". */
static bool common_attribute(int attribute, int *value)
{
    switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y: *value = 1024; return true;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z: *value = 64; return true;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X: *value = INT_MAX; return true;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z: *value = 65535; return true;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: *value = 48 * 1024; return true;
    case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY: *value = 64 * 1024; return true;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *value = 32; return true;
    case CU_DEVICE_ATTRIBUTE_MAX_PITCH: *value = INT_MAX; return true;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR: *value = 65536; return true;
    case CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT:
    case CU_DEVICE_ATTRIBUTE_SURFACE_ALIGNMENT: *value = 512; return true;
    case CU_DEVICE_ATTRIBUTE_TEXTURE_PITCH_ALIGNMENT: *value = 32; return true;
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT: *value = 2; return true;
    case CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK: *value = vg_the_card()->major >= 8 ? 1024 : 0; return true;
    case CU_DEVICE_ATTRIBUTE_GPU_OVERLAP:
    case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
    case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_GLOBAL_L1_CACHE_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_LOCAL_L1_CACHE_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY:
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS:
    case CU_DEVICE_ATTRIBUTE_COMPUTE_PREEMPTION_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH:
    case CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM:
    case CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_UNIFIED_FUNCTION_POINTERS: *value = 1; return true;
    /* What the emulated card declines to be able to do, so that no caller tries it. */
    case CU_DEVICE_ATTRIBUTE_COMPUTE_MODE:
    case CU_DEVICE_ATTRIBUTE_INTEGRATED:
    case CU_DEVICE_ATTRIBUTE_KERNEL_EXEC_TIMEOUT:
    case CU_DEVICE_ATTRIBUTE_TCC_DRIVER:
    case CU_DEVICE_ATTRIBUTE_MULTI_GPU_BOARD:
    case CU_DEVICE_ATTRIBUTE_MULTI_GPU_BOARD_GROUP_ID:
    case CU_DEVICE_ATTRIBUTE_HOST_NATIVE_ATOMIC_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS:
    case CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES:
    case CU_DEVICE_ATTRIBUTE_DIRECT_MANAGED_MEM_ACCESS_FROM_HOST:
    case CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_FABRIC_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_IPC_EVENT_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_MULTICAST_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_DMA_BUF_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_MEMPOOL_SUPPORTED_HANDLE_TYPES:
    case CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID:
    case CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID: *value = 0; return true;
    default: return false;
    }
}

bool vg_attribute(int attribute, int device, int *value)
{
    const vg_card *own = &card;
    switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = own->major; return true;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = own->minor; return true;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = own->sm_count; return true;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: *value = own->l2_bytes; return true;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR: *value = own->shared_memory_per_sm_bytes; return true;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *value = own->shared_memory_per_block_optin_bytes; return true;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR: *value = own->max_threads_per_sm; return true;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR: *value = own->max_blocks_per_sm; return true;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: *value = own->memory_bus_bits; return true;
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE: *value = own->boost_clock_khz; return true;
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: *value = own->memory_clock_khz; return true;
    case CU_DEVICE_ATTRIBUTE_ECC_ENABLED: *value = own->ecc; return true;
    case CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH:
    case CU_DEVICE_ATTRIBUTE_TENSOR_MAP_ACCESS_SUPPORTED: *value = own->major >= 9; return true;
    case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID: *value = vg_card_of(device) + 1; return true;
    default: return common_attribute(attribute, value);
    }
}

bool vg_grid_fits(const unsigned grid[3], const unsigned block[3])
{
    for (int axis = 0; axis < 3; axis++) {
        int most_blocks = 0, most_threads = 0;
        common_attribute(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X + axis, &most_blocks);
        common_attribute(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X + axis, &most_threads);
        if (grid[axis] < 1 || grid[axis] > (unsigned)most_blocks || block[axis] < 1 || block[axis] > (unsigned)most_threads)
            return false;
    }
    return block[0] * block[1] * block[2] <= 1024;
}

int vg_resident_blocks(int block_threads, size_t shared_bytes)
{
    if (block_threads < 1)
        return -1;
    if (block_threads > 1024)
        return 0;
    int most = card.max_threads_per_sm / ((block_threads + 31) / 32 * 32);
    if (shared_bytes > 0 && (size_t)card.shared_memory_per_sm_bytes / shared_bytes < (size_t)most)
        most = (int)((size_t)card.shared_memory_per_sm_bytes / shared_bytes);
    return most < card.max_blocks_per_sm ? most : card.max_blocks_per_sm;
}
