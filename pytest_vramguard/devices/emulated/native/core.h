/* The books of the emulated cards: one ledger that every emulated CUDA library shares.
 *
 * The libraries (cudart*.c, cuda*.c, cublas.c, ...) translate a vendor interface into these calls and hold no state of their own
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
    int peer_access;   /* 1 if cards of a node reach each other's memory */
    int nccl_channels; /* rings that NCCL makes between them; 0 where its buffers lie in host memory */
    int driver_version;  /* as cuDriverGetVersion: 13000 */
    char driver_name[32]; /* as NVML: "580.65.06" */
} vg_card;

/* Places the card that `text` describes: `key=value` pairs, each ended by ';'. Every key above must be given once.
 * Returns NULL, or a message that names the faulty key; then nothing has changed. Refused while device memory is allocated. */
VG_API const char *vg_place(const char *text);
/* Cards that the process may see: all, or those that CUDA_VISIBLE_DEVICES leaves it. */
VG_API int vg_card_count(void);
/* Has the cards counted anew; for vg_place alone. */
void vg_forget_visible(void);
VG_API const vg_card *vg_the_card(void);
/* Value of a CUdevice_attribute (the runtime uses the same numbers). False if the number is not covered: refuse then. */
VG_API bool vg_attribute(int attribute, int device, int *value);
VG_API void vg_uuid(int device, unsigned char bytes[16]);
VG_API void vg_card_uuid(int card, unsigned char bytes[16]);
#define VG_UUID_TEXT_BYTES 41
/* As nvidia-smi shows it: GPU- and groups of hexadecimal digits. */
VG_API void vg_card_uuid_text(int card, char text[VG_UUID_TEXT_BYTES]);
/* Which card of the node a device of this process is, by the order in CUDA_VISIBLE_DEVICES; -1 if there is no such device. */
VG_API int vg_card_of(int device);
/* Which device of this process a card of the node is, or -1 if it may not see the card. */
VG_API int vg_device_of(int card);
/* Whether this process has chosen the device or holds memory there: CUDA makes its context then. */
VG_API bool vg_in_use(int device);
VG_API int vg_current_device(void);
VG_API bool vg_set_current_device(int device);
/* Whether a card runs such a grid of blocks (x, y, z). */
VG_API bool vg_grid_fits(const unsigned grid[3], const unsigned block[3]);
/* Blocks of so many threads and so much shared memory that one multiprocessor holds at a time; -1 for a block without threads. */
VG_API int vg_resident_blocks(int block_threads, size_t shared_bytes);

/* ---- ledger.c: memory -------------------------------------------------------------------------------------------------- */

/* Device memory is taken from the driver in blocks of 2 MiB: cudaMemGetInfo moves in these steps, and they are the granularity
 * of virtual memory (CU_MEM_ALLOC_GRANULARITY_MINIMUM and RECOMMENDED). */
#define VG_GRANULE_BYTES ((size_t)2 << 20)

/* VG_RESERVED, addresses into which device memory may be mapped, is never answered by vg_find. */
typedef enum { VG_DEVICE = 1, VG_MANAGED, VG_PINNED, VG_REGISTERED, VG_RESERVED } vg_kind;
typedef enum {
    VG_OK = 0,
    VG_OUT_OF_MEMORY,
    VG_BAD_ADDRESS,
    VG_HOST_EXHAUSTED,
    VG_FIRST_CODE = 400, /* from here on numbers are those of cudaError_t and CUresult, which are the same */
    VG_INVALID_HANDLE = 400,
    VG_ILLEGAL_STATE = 401,
    VG_NOT_READY = 600,
    VG_CAPTURE_UNSUPPORTED = 900, /* what a stream under capture does not permit */
    VG_CAPTURE_INVALIDATED = 901,
    VG_CAPTURE_MERGE = 902,
    VG_CAPTURE_UNMATCHED = 903,
    VG_CAPTURE_UNJOINED = 904,
    VG_CAPTURE_ISOLATION = 905,
    VG_CAPTURE_IMPLICIT = 906,
    VG_CAPTURED_EVENT = 907,
    VG_CAPTURE_WRONG_THREAD = 908,
} vg_status;

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
/* Peaks since the last vg_reset_peak of what is not the card's own. Managed memory resides on the card as far as there is room
 * beside device memory, and the rest on the host: pages are moved where they are used, which is the card for an optimizer's state,
 * and are the first to go when the card is full. Source: CUDA C++ Programming Guide 13.0, "Unified Memory Programming", on GPU
 * memory oversubscription of cards since Pascal on Linux. */
typedef struct {
    uint64_t managed_bytes;
    uint64_t managed_host_bytes;
    uint64_t pinned_bytes; /* page-locked host memory of the process, allocated or registered */
} vg_outside;

VG_API vg_outside vg_outside_peaks(int device);
VG_API void vg_reset_peak(void);
/* Notes that a library holds so many bytes more, or less, of what is in the books of a device already. */
VG_API void vg_hold(int device, int64_t change_bytes);
/* The most bytes that libraries have held at a time since the last vg_reset_peak. */
VG_API uint64_t vg_held_peak(int device);
/* Starts a new peak of them; for vg_reset_peak alone. */
void vg_reset_held_peak(void);

/* ---- virtual.c: address ranges and the device memory that is mapped into them ------------------------------------------- */

typedef enum { VG_NO_ACCESS = 0, VG_READ = 1, VG_READ_WRITE = 3 } vg_access; /* as CUmemAccess_flags */

/* Sizes are multiples of VG_GRANULE_BYTES, anything else is a bad address, as is a handle that is not live. */
VG_API vg_status vg_reserve(size_t size_bytes, size_t alignment, void **address);
VG_API vg_status vg_unreserve(void *address, size_t size_bytes);
VG_API vg_status vg_create_memory(int device, size_t size_bytes, uint64_t *handle);
VG_API vg_status vg_release_memory(uint64_t handle);
/* One more handle of the memory that is mapped at an address. */
VG_API vg_status vg_retain_memory(const void *address, uint64_t *handle);
VG_API bool vg_memory_device(uint64_t handle, int *device);
/* Memory that is mapped already is refused as a bad address. */
VG_API vg_status vg_map(void *address, size_t size_bytes, uint64_t handle);
/* Unmaps whole mappings, however many there are. */
VG_API vg_status vg_unmap(void *address, size_t size_bytes);
VG_API vg_status vg_set_access(void *address, size_t size_bytes, vg_access access);
VG_API bool vg_access_of(const void *address, vg_access *access);

/* ---- pools.c: memory that is allocated and freed in the order of a stream ------------------------------------------------- */

typedef struct vg_pool vg_pool;

typedef enum { /* numbers of cudaMemPoolAttr and CUmemPool_attribute */
    VG_POOL_REUSE_FOLLOW_EVENT_DEPENDENCIES = 1,
    VG_POOL_REUSE_ALLOW_OPPORTUNISTIC,
    VG_POOL_REUSE_ALLOW_INTERNAL_DEPENDENCIES,
    VG_POOL_RELEASE_THRESHOLD,
    VG_POOL_RESERVED,
    VG_POOL_RESERVED_HIGH,
    VG_POOL_USED,
    VG_POOL_USED_HIGH,
} vg_pool_attribute;

/* NULL if the host has no memory for it. */
VG_API vg_pool *vg_pool_default(int device);
VG_API vg_pool *vg_pool_current(int device);
VG_API vg_pool *vg_pool_create(int device, size_t most_bytes);
/* What is allocated from it lives on; the default pools cannot be destroyed. */
VG_API bool vg_pool_destroy(vg_pool *pool);
VG_API bool vg_pool_use(int device, vg_pool *pool);
/* Freed by vg_release as any device memory. */
VG_API vg_status vg_pool_allocate(vg_pool *pool, size_t size_bytes, void **address);
VG_API bool vg_pool_get(vg_pool *pool, vg_pool_attribute attribute, uint64_t *value);
/* False for a number that can only be asked for; the high-water marks can only be set to 0, which is a reset. */
VG_API bool vg_pool_set(vg_pool *pool, vg_pool_attribute attribute, uint64_t value);
VG_API bool vg_pool_trim(vg_pool *pool, size_t kept_bytes);
/* Lets all pools give back what they hold above their release threshold, as at every synchronisation. */
VG_API void vg_settle_pools(void);

/* ---- contents.c: the bytes in memory ----------------------------------------------------------------------------------- */

/* Copies between any two places, working out the direction; device bytes never written read as zero. An address of no region is
 * taken for host memory, unless it lies where only device memory can be. Bad addresses and ranges change nothing. */
VG_API vg_status vg_copy(void *to, const void *from, size_t size_bytes);
/* Copies `rows` rows of `row_bytes`, which begin `to_pitch` and `from_pitch` bytes apart; large or not is decided by the sum. */
VG_API vg_status vg_copy_rows(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t row_bytes, size_t rows);
/* As vg_copy, for what the emulation does of its own accord: no program asked for these bytes, so they are not counted. */
VG_API vg_status vg_copy_uncounted(void *to, const void *from, size_t size_bytes);
VG_API vg_status vg_fill(void *to, const void *pattern, size_t pattern_bytes, size_t size_bytes);

/* ---- journal.c: what was called ---------------------------------------------------------------------------------------- */

typedef enum {
    VG_LAUNCHES,          /* kernels */
    VG_COMPUTE_CALLS,     /* library computations: GEMM and the like */
    VG_DRIVER_ALLOCATIONS, /* of device memory: cudaMalloc, cuMemAlloc, cuMemCreate */
    VG_DRIVER_FREES,
    VG_SYNCHRONISATIONS,
    VG_BYTES_TO_DEVICE,
    VG_BYTES_TO_HOST,
    VG_BYTES_ALL_REDUCED, /* this and those below: what was given to NCCL, by kind */
    VG_BYTES_ALL_GATHERED,
    VG_BYTES_REDUCE_SCATTERED,
    VG_BYTES_BROADCAST,
    VG_BYTES_EXCHANGED,
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
VG_API vg_status vg_event_record(vg_event *event, const void *stream);
VG_API vg_status vg_stream_wait(const void *stream, const vg_event *event);
/* Whether the card has got as far as the event: VG_NOT_READY if not. An error where a capture forbids to ask. */
VG_API vg_status vg_event_query(vg_event *event);
/* An invalid handle if either event is unknown or was never recorded. Negative if `end` was recorded first. */
VG_API vg_status vg_event_elapsed_ns(const vg_event *start, const vg_event *end, int64_t *elapsed_ns);

/* ---- graphs.c: work, done at once or kept in a graph -------------------------------------------------------------------- */

typedef struct {
    enum { VG_KERNEL, VG_COMPUTE, VG_COPY, VG_FILL, VG_HOST_CALL } kind;
    void *to;
    const void *from;
    size_t to_pitch, from_pitch, row_bytes, rows; /* of a copy */
    unsigned pattern, pattern_bytes;              /* of a fill */
    size_t size_bytes;                            /* of a fill */
    void (*function)(void *argument);             /* of a host call */
    void *argument;
} vg_work;

typedef struct vg_graph vg_graph;
typedef struct vg_node vg_node;

/* Does work now or, if the stream is under capture, adds it to the graph: then it is neither done nor counted. */
VG_API vg_status vg_submit(const void *stream, const vg_work *work);
/* Nodes of a graph in the order in which they were captured, and of those that a node follows; false if graph or node is not known.
 * `nodes` belongs to the graph. */
VG_API bool vg_graph_nodes(const vg_graph *graph, vg_node ***nodes, size_t *count);
VG_API bool vg_node_dependencies(vg_node *node, vg_node ***nodes, size_t *count);
VG_API bool vg_graph_destroy(vg_graph *graph);
/* A copy of a graph that can be launched; NULL if the graph is not known. It is destroyed as a graph is. */
VG_API vg_graph *vg_graph_instantiate(const vg_graph *graph);
/* Does the work of a graph, or adds it to the graph that `stream` is captured into. */
VG_API vg_status vg_graph_launch(const vg_graph *graph, const void *stream);

/* ---- captures.c: streams under capture ----------------------------------------------------------------------------------- */

typedef enum { VG_CAPTURE_GLOBAL, VG_CAPTURE_THREAD_LOCAL, VG_CAPTURE_RELAXED } vg_capture_mode; /* as cudaStreamCaptureMode */
typedef enum { VG_CAPTURE_NONE, VG_CAPTURE_ACTIVE, VG_CAPTURE_SPOILED } vg_capture_state; /* as cudaStreamCaptureStatus */

VG_API vg_status vg_capture_begin(const void *stream, vg_capture_mode mode);
/* Ends the capture, well or not; `graph` is NULL if not. */
VG_API vg_status vg_capture_end(const void *stream, vg_graph **graph);
/* An invalid handle for a stream that is none. `id` and `graph`, which may be NULL, are written if a capture is active. */
VG_API vg_status vg_capture_of(const void *stream, vg_capture_state *state, uint64_t *id, vg_graph **graph);
/* Whether work of the stream is captured, or was until something spoiled it. */
VG_API bool vg_captured(const void *stream);
/* What the next work of a stream under capture will follow; until that work, `nodes` is the capture's. */
VG_API void vg_capture_dependencies(const void *stream, vg_node ***nodes, size_t *count);
/* Returns how this thread was affected by captures so far, and sets how it is from now on. */
VG_API vg_capture_mode vg_capture_exchange_mode(vg_capture_mode mode);
/* Called before what may wait for the card (allocation, release, a synchronous copy): an error if a capture forbids it now. */
VG_API vg_status vg_may_wait(void);
/* Waits for the whole card, for an event, for a stream, or (not counted) asks whether a stream may be waited for, which is answered
 * as if it were done: only loops ask for that. All are errors where a capture forbids them. */
VG_API vg_status vg_synchronise(void);
VG_API vg_status vg_event_synchronise(const vg_event *event);
VG_API vg_status vg_stream_synchronise(const void *stream);
VG_API vg_status vg_stream_query(const void *stream);
/* Counts a read of so many bytes by the host, for which it waits, that the emulation answers without the card. */
VG_API void vg_note_read(size_t size_bytes);
/* Has `listener` called after each synchronisation that is counted, by the thread that waited and with no lock of ours held.
 * NULL ends that. */
VG_API void vg_listen(void (*listener)(void));

#endif
