/* libcuda: modules, functions and launches. Modules and functions are names: no machine code is loaded or run. */
#include "driver.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- code and launches ---------------------------------------------------------------------------------------------------- */

/* A module is a heap block; its functions are blocks of their own that live as long as the process, as kernels' handles do in
 * Triton's and torch's caches. */
static CUresult named_handle(void **handle)
{
    *handle = malloc(16);
    return *handle ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuModuleLoadData(CUmodule *module, const void *image)
{
    (void)image;
    return named_handle((void **)module);
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned option_count, CUjit_option *options, void **values)
{
    (void)option_count, (void)options, (void)values;
    return cuModuleLoadData(module, image);
}

/* Inductor leaves the machine code of its Triton kernels in files, and loads them by name. */
CUresult cuModuleLoad(CUmodule *module, const char *path)
{
    if (access(path, R_OK) != 0)
        return CUDA_ERROR_FILE_NOT_FOUND;
    return cuModuleLoadData(module, NULL);
}

CUresult cuModuleUnload(CUmodule module)
{
    free(module);
    return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name)
{
    (void)module, (void)name;
    return named_handle((void **)function);
}

static CUresult function_attribute(int *value, CUfunction_attribute attribute)
{
    const vg_card *card = vg_the_card();
    switch (attribute) { /* registers and spills are unknown here, see cudaFuncGetAttributes in cudart_code.c */
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = 1024; return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_NUM_REGS: *value = 32; return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION: *value = card->major * 10 + card->minor; return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: *value = 48 * 1024; return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES: *value = 0; return CUDA_SUCCESS;
    default: return (CUresult)vg_refuse("cuFuncGetAttribute", CUDA_ERROR_NOT_SUPPORTED);
    }
}

CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction function)
{
    (void)function;
    return function_attribute(value, attribute);
}

CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value)
{
    (void)function;
    int most = vg_the_card()->shared_memory_per_block_optin_bytes;
    bool too_much = attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES && value > most;
    return too_much ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult cuFuncSetCacheConfig(CUfunction function, CUfunc_cache preference)
{
    (void)function, (void)preference;
    return CUDA_SUCCESS;
}

CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                        unsigned block_z, unsigned shared_bytes, CUstream stream, void **arguments, void **extra)
{
    (void)function, (void)shared_bytes, (void)arguments, (void)extra;
    if (any_device() != CUDA_SUCCESS)
        return any_device();
    const unsigned grid[] = {grid_x, grid_y, grid_z}, block[] = {block_x, block_y, block_z};
    return vg_grid_fits(grid, block) ? status(vg_submit(stream, &(vg_work){.kind = VG_KERNEL})) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuLaunchKernelEx(const CUlaunchConfig *configuration, CUfunction function, void **arguments, void **extra)
{
    const CUlaunchConfig *is = configuration;
    return cuLaunchKernel(function, is->gridDimX, is->gridDimY, is->gridDimZ, is->blockDimX, is->blockDimY, is->blockDimZ,
                          is->sharedMemBytes, is->hStream, arguments, extra);
}

CUresult cuLaunchCooperativeKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                                   unsigned block_y, unsigned block_z, unsigned shared_bytes, CUstream stream, void **arguments)
{
    return cuLaunchKernel(function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes, stream, arguments, NULL);
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction function, int block_threads, size_t shared_bytes)
{
    (void)function;
    *blocks = vg_resident_blocks(block_threads, shared_bytes);
    return *blocks >= 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* Undocumented tables of functions, by which NVIDIA's libraries reach into its driver. NVRTC, which stays the real one because it
 * only compiles, looks for one of a debugger and goes on without it; any other library would not get far.
 * Source of the table's name: libnvrtc.so.13 of CUDA 13.0, seen in a debugger. */
CUresult cuGetExportTable(const void **table, const CUuuid *wanted)
{
    static const CUuuid of_nvrtc = {"\xda\x91\x51\xd3\x3a\xe6\xcc\x41\xa5\xc0\x4f\x26\xd5\x33\xe3\x28"};
    *table = NULL;
    if (memcmp(wanted, &of_nvrtc, sizeof of_nvrtc) == 0)
        return CUDA_ERROR_NOT_FOUND;
    return vg_refuse("cuGetExportTable", CUDA_ERROR_NOT_SUPPORTED);
}
