/* libcudart: device code, its variables and its launches. */
#include "runtime.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* ---- variables of device code ------------------------------------------------------------------------------------------------ */

typedef struct variable {
    const void *symbol;
    size_t size_bytes;
    void *bytes; /* host memory: no kernel runs that could want it on the card; context bytes cover its place there */
    struct variable *next;
} variable;

static pthread_mutex_t variables_lock = PTHREAD_MUTEX_INITIALIZER;
static variable *variables;

static variable *variable_of(const void *symbol)
{
    pthread_mutex_lock(&variables_lock);
    variable *found = variables;
    while (found != NULL && found->symbol != symbol)
        found = found->next;
    if (found != NULL && found->bytes == NULL)
        found->bytes = calloc(1, found->size_bytes);
    pthread_mutex_unlock(&variables_lock);
    return found != NULL && found->bytes != NULL ? found : NULL;
}

cudaError_t cudaGetSymbolAddress(void **address, const void *symbol)
{
    variable *found = variable_of(symbol);
    *address = found ? found->bytes : NULL;
    return found ? cudaSuccess : done(cudaErrorInvalidSymbol);
}

cudaError_t cudaMemcpyToSymbol(const void *symbol, const void *from, size_t size_bytes, size_t offset, enum cudaMemcpyKind kind)
{
    (void)kind;
    variable *found = variable_of(symbol);
    if (found == NULL || offset > found->size_bytes || size_bytes > found->size_bytes - offset)
        return done(cudaErrorInvalidSymbol);
    return status(vg_copy((char *)found->bytes + offset, from, size_bytes));
}

/* ---- code and launches ---------------------------------------------------------------------------------------------------- */

/* What compiled host code calls when it is loaded and before each launch. Source: crt/host_runtime.h of the CUDA headers. */
void **__cudaRegisterFatBinary(void *binary);
void __cudaRegisterFatBinaryEnd(void **handle);
void __cudaUnregisterFatBinary(void **handle);
char __cudaInitModule(void **handle);
void __cudaRegisterFunction(void **handle, const char *host_function, char *device_function, const char *device_name, int thread_limit,
                            void *thread_id, void *block_id, void *block_dim, void *grid_dim, int *warp_size);
void __cudaRegisterVar(void **handle, char *symbol, char *address, const char *name, int external, size_t size_bytes, int constant, int global);
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared_bytes, struct CUstream_st *stream);
cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared_bytes, void *stream);
cudaError_t __cudaGetKernel(cudaKernel_t *kernel, const void *function);
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **arguments, size_t shared_bytes, cudaStream_t stream);

void **__cudaRegisterFatBinary(void *binary) { return binary; } /* it is its own handle */

void __cudaRegisterFatBinaryEnd(void **handle) { (void)handle; }
void __cudaUnregisterFatBinary(void **handle) { (void)handle; }
char __cudaInitModule(void **handle)
{
    (void)handle;
    return 1;
}

void __cudaRegisterFunction(void **handle, const char *host_function, char *device_function, const char *device_name, int thread_limit,
                            void *thread_id, void *block_id, void *block_dim, void *grid_dim, int *warp_size)
{
    (void)device_function, (void)device_name, (void)thread_limit;
    (void)thread_id, (void)block_id, (void)block_dim, (void)grid_dim, (void)warp_size;
    vg_register_function(host_function, handle);
}

void __cudaRegisterVar(void **handle, char *symbol, char *address, const char *name, int external, size_t size_bytes, int constant, int global)
{
    (void)handle, (void)address, (void)name, (void)external, (void)constant, (void)global;
    variable *added = malloc(sizeof *added);
    if (added == NULL)
        return; /* a later look-up answers cudaErrorInvalidSymbol */
    pthread_mutex_lock(&variables_lock);
    *added = (variable){symbol, size_bytes ? size_bytes : 1, NULL, variables};
    variables = added;
    pthread_mutex_unlock(&variables_lock);
}

typedef struct {
    dim3 grid, block;
    size_t shared_bytes;
    struct CUstream_st *stream;
} call_configuration;

#define CONFIGURATION_DEPTH 16
static _Thread_local call_configuration configurations[CONFIGURATION_DEPTH];
static _Thread_local int configuration_count;

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared_bytes, struct CUstream_st *stream)
{
    if (configuration_count == CONFIGURATION_DEPTH)
        return 1;
    configurations[configuration_count++] = (call_configuration){grid, block, shared_bytes, stream};
    return 0;
}

cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared_bytes, void *stream)
{
    if (configuration_count == 0)
        return done(cudaErrorMissingConfiguration);
    call_configuration top = configurations[--configuration_count];
    *grid = top.grid;
    *block = top.block;
    *shared_bytes = top.shared_bytes;
    *(struct CUstream_st **)stream = top.stream;
    return cudaSuccess;
}

static cudaError_t launched(dim3 grid, dim3 block, cudaStream_t stream)
{
    const unsigned blocks[] = {grid.x, grid.y, grid.z}, threads[] = {block.x, block.y, block.z};
    if (vg_card_count() == 0)
        return done(cudaErrorNoDevice);
    return vg_grid_fits(blocks, threads) ? status(vg_submit(stream, &(vg_work){.kind = VG_KERNEL})) : done(cudaErrorInvalidConfiguration);
}

cudaError_t __cudaGetKernel(cudaKernel_t *kernel, const void *function)
{
    *kernel = (cudaKernel_t)function;
    return cudaSuccess;
}

cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **arguments, size_t shared_bytes, cudaStream_t stream)
{
    (void)kernel, (void)arguments, (void)shared_bytes;
    return launched(grid, block, stream);
}

cudaError_t cudaLaunchKernel(const void *function, dim3 grid, dim3 block, void **arguments, size_t shared_bytes, cudaStream_t stream)
{
    (void)function, (void)arguments, (void)shared_bytes;
    return launched(grid, block, stream);
}

cudaError_t cudaLaunchCooperativeKernel(const void *function, dim3 grid, dim3 block, void **arguments, size_t shared_bytes, cudaStream_t stream)
{
    return cudaLaunchKernel(function, grid, block, arguments, shared_bytes, stream);
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *configuration, const void *function, void **arguments)
{
    (void)function, (void)arguments;
    return launched(configuration->gridDim, configuration->blockDim, configuration->stream);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *argument)
{
    return status(vg_submit(stream, &(vg_work){.kind = VG_HOST_CALL, .function = function, .argument = argument}));
}

cudaError_t cudaStreamAddCallback(cudaStream_t stream, cudaStreamCallback_t callback, void *argument, unsigned flags)
{
    (void)flags;
    vg_status permitted = vg_stream_query(stream); /* unlike host functions, callbacks cannot be captured */
    if (permitted == VG_OK)
        callback(stream, cudaSuccess, argument);
    return status(permitted);
}

/* Registers and local memory of a kernel are in its machine code, which nobody reads here; 32 registers let any block run.
 * They bound the size of grids, never the size of tensors. */
cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *attributes, const void *function)
{
    const vg_card *card = vg_the_card();
    memset(attributes, 0, sizeof *attributes);
    attributes->maxThreadsPerBlock = 1024;
    attributes->numRegs = 32;
    attributes->binaryVersion = attributes->ptxVersion = vg_built_for(function, card->major * 10 + card->minor);
    attributes->maxDynamicSharedSizeBytes = 48 * 1024;
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *function, enum cudaFuncAttribute attribute, int value)
{
    (void)function;
    int most = vg_the_card()->shared_memory_per_block_optin_bytes;
    return attribute == cudaFuncAttributeMaxDynamicSharedMemorySize && value > most ? done(cudaErrorInvalidValue) : cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, const void *function, int block_threads,
                                                                   size_t shared_bytes, unsigned flags)
{
    (void)function, (void)flags;
    *blocks = vg_resident_blocks(block_threads, shared_bytes);
    return *blocks >= 0 ? cudaSuccess : done(cudaErrorInvalidValue);
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *function, int block_threads, size_t shared_bytes)
{
    return cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, block_threads, shared_bytes, 0);
}

cudaError_t cudaProfilerStart(void) { return cudaSuccess; }
cudaError_t cudaProfilerStop(void) { return cudaSuccess; }
