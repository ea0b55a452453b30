/* libnvshmem_host: refused. PyTorch links it for symmetric memory over several machines. Functions that return an address are
 * written here, for a stub's code would look like one.
 * Source of signatures: NVSHMEM 3 documentation, "Memory Management" and "Library Setup, Exit, and Query".
 */
#include "core.h"

#define NOT_SUPPORTED 3 /* NVSHMEMX_ERROR_NOT_SUPPORTED */

void *nvshmem_malloc(size_t size_bytes) { return (void)size_bytes, vg_refuse("nvshmem_malloc", NOT_SUPPORTED), NULL; }
void *nvshmem_calloc(size_t count, size_t size_bytes)
{
    return (void)count, (void)size_bytes, vg_refuse("nvshmem_calloc", NOT_SUPPORTED), NULL;
}

void *nvshmem_align(size_t alignment_bytes, size_t size_bytes)
{
    return (void)alignment_bytes, (void)size_bytes, vg_refuse("nvshmem_align", NOT_SUPPORTED), NULL;
}

void *nvshmem_ptr(const void *destination, int processor)
{
    return (void)destination, (void)processor, vg_refuse("nvshmem_ptr", NOT_SUPPORTED), NULL;
}

void *nvshmemx_mc_ptr(int team, const void *address) { return (void)team, (void)address, vg_refuse("nvshmemx_mc_ptr", NOT_SUPPORTED), NULL; }

void *nvshmemx_buffer_register_symmetric(void *buffer, size_t size_bytes, int flags)
{
    return (void)buffer, (void)size_bytes, (void)flags, vg_refuse("nvshmemx_buffer_register_symmetric", NOT_SUPPORTED), NULL;
}
