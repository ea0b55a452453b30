/* The books of the emulated cards: one ledger that every emulated CUDA library shares.
 *
 * The libraries (cudart.c, cuda.c, cublas.c, ...) translate a vendor interface into these calls and hold no state of their own
 * that another library could need. The core is built as libvramguard_core.so, so one process has one set of books.
 *
 * Invariants
 *   - A process sees `vg_card_count()` equal cards. With none placed, every library answers "no device".
 *   - used = context + sum of charges of live device regions; used never exceeds the card's total.
 *   - Managed memory never makes an allocation fail: it fills what is free and is evicted first.
 *   - Device addresses lie in a reserved arena and are given out lowest first, so that two equal runs see equal orders.
 *   - Time is counted in launches. No clock of the host is read.
 *   - A forked child has a copy of the books; what it does to them its parent does not see.
 * All functions are thread-safe, but for vg_place: no other thread may be inside the libraries then.
 */
#ifndef VRAMGUARD_CORE_H
#define VRAMGUARD_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VG_API __attribute__((visibility("default")))
#define VG_MAX_CARDS 64

/* Copies and fills of at most this many bytes are done for real on the card's bytes; larger ones leave zeros. */
#define VG_REAL_BYTES ((size_t)1 << 20)

/* ---- card.c: identity -------------------------------------------------------------------------------------------------- */

typedef struct {
    char name[128];
    uint64_t total_bytes;   /* what cudaMemGetInfo calls total */
    uint64_t context_bytes; /* charged from the start: CUDA context and loaded libraries */
    int count;              /* equal cards in this process */
    int major, minor;       /* compute capability */
    int sm_count;
    int l2_bytes;
    int shared_memory_per_sm_bytes;
    int shared_memory_per_block_optin_bytes;
    int max_threads_per_sm;
    int max_blocks_per_sm;
    int memory_bus_bits;
    int boost_clock_khz;
    int memory_clock_khz;
    int ecc;
    int runtime_version; /* as cudaRuntimeGetVersion: 13000 */
    int driver_version;  /* as cuDriverGetVersion: 13000 */
    char driver_name[32]; /* as NVML: "580.65.06" */
} vg_card;

/* Places the card that `text` describes: `key=value` pairs, each ended by ';'. Every key above must be given once.
 * Returns NULL, or a message that names the faulty key; then nothing has changed. Refused while device memory is allocated. */
VG_API const char *vg_place(const char *text);
/* Cards that the process may see: all, or those that CUDA_VISIBLE_DEVICES leaves it. */
VG_API int vg_card_count(void);
VG_API const vg_card *vg_the_card(void);
/* Value of a CUdevice_attribute (the runtime uses the same numbers). False if the number is not covered: refuse then. */
VG_API bool vg_attribute(int attribute, int device, int *value);
VG_API void vg_uuid(int device, unsigned char bytes[16]);
VG_API int vg_current_device(void);
VG_API bool vg_set_current_device(int device);
/* Counts the launch of a kernel. False, and nothing counted, if no card runs such a grid of blocks (x, y, z). */
VG_API bool vg_launch(const unsigned grid[3], const unsigned block[3]);
/* Blocks of so many threads and so much shared memory that one multiprocessor holds at a time; -1 for a block without threads. */
VG_API int vg_resident_blocks(int block_threads, size_t shared_bytes);

/* ---- ledger.c: memory -------------------------------------------------------------------------------------------------- */

typedef enum { VG_DEVICE = 1, VG_MANAGED, VG_PINNED, VG_REGISTERED } vg_kind;
typedef enum { VG_OK = 0, VG_OUT_OF_MEMORY, VG_BAD_ADDRESS, VG_HOST_EXHAUSTED } vg_status;

typedef struct {
    uintptr_t base;
    size_t size_bytes;    /* as asked for */
    size_t charged_bytes; /* as counted against the card: whole granules for device memory, else 0 */
    vg_kind kind;
    int device;
} vg_region;

typedef struct {
    uint64_t total_bytes;
    uint64_t used_bytes;    /* context and device memory */
    uint64_t managed_bytes; /* managed memory that resides on the card */
    uint64_t peak_bytes;    /* largest used + managed since the last vg_reset_peak */
} vg_usage;

VG_API vg_status vg_allocate(vg_kind kind, int device, size_t size_bytes, void **address);
VG_API vg_status vg_release(vg_kind kind, void *address);
VG_API vg_status vg_register_host(void *address, size_t size_bytes);
VG_API vg_status vg_unregister_host(void *address);
VG_API bool vg_find(const void *address, vg_region *found);
VG_API vg_usage vg_usage_of(int device);
VG_API void vg_reset_peak(void);
/* Copies between any two places, working out the direction; device bytes never written read as zero. An address of no region is
 * taken for host memory, unless it lies where only device memory can be. Bad addresses and ranges change nothing. */
VG_API vg_status vg_copy(void *to, const void *from, size_t size_bytes);
/* Copies `rows` rows of `row_bytes`, which begin `to_pitch` and `from_pitch` bytes apart; large or not is decided by the sum. */
VG_API vg_status vg_copy_rows(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t row_bytes, size_t rows);
VG_API vg_status vg_fill(void *to, const void *pattern, size_t pattern_bytes, size_t size_bytes);

/* ---- journal.c: what was called ---------------------------------------------------------------------------------------- */

typedef enum {
    VG_LAUNCHES,          /* kernels */
    VG_COMPUTE_CALLS,     /* library computations: GEMM and the like */
    VG_DRIVER_ALLOCATIONS,
    VG_DRIVER_FREES,
    VG_SYNCHRONISATIONS,
    VG_BYTES_TO_DEVICE,
    VG_BYTES_TO_HOST,
    VG_COUNTERS,          /* number of counters */
} vg_counter;

VG_API void vg_count(vg_counter counter, uint64_t amount);
VG_API uint64_t vg_counted(vg_counter counter);
/* Records that `name` was called and is not emulated; returns `code`, the library's own word for "not supported". */
VG_API int vg_refuse(const char *name, int code);
/* Writes the refused names so far, one a line in order of first refusal; returns the number of names. */
VG_API int vg_refusals(char *text, size_t capacity_bytes);
VG_API void vg_forget_refusals(void);
/* The emulated clock: grows by 10 ms for each launch, so that it is equal in two equal runs. */
VG_API uint64_t vg_clock_ns(void);

/* ---- queue.c: streams and events ---------------------------------------------------------------------------------------- */

typedef struct vg_stream vg_stream;
typedef struct vg_event vg_event;

VG_API vg_stream *vg_stream_create(unsigned flags, int priority);
VG_API bool vg_stream_destroy(vg_stream *stream);
/* True for a live stream and for the default streams (0, 1 and 2 in the vendor's interface). */
VG_API bool vg_stream_known(const void *stream);
VG_API int vg_stream_priority(const void *stream);
VG_API unsigned vg_stream_flags(const void *stream);
VG_API vg_event *vg_event_create(unsigned flags);
VG_API bool vg_event_destroy(vg_event *event);
VG_API bool vg_event_record(vg_event *event);
/* False if either event is unknown or was never recorded. Negative if `end` was recorded first. */
VG_API bool vg_event_elapsed_ns(const vg_event *start, const vg_event *end, int64_t *elapsed_ns);
VG_API bool vg_event_known(const vg_event *event);

#endif
