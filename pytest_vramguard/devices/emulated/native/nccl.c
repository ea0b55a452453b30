/* libnccl: its version and its words. Communication between emulated cards is refused by name. */
#include "core.h"

typedef int result; /* ncclResult_t; ncclInvalidUsage is NCCL's nearest code to "not supported" */
#define SUCCESS 0

/* Source: nccl.h of NCCL 2.28, NCCL_VERSION_CODE = major * 10000 + minor * 100 + patch. */
result ncclGetVersion(int *version)
{
    *version = 22803;
    return SUCCESS;
}

const char *ncclGetErrorString(result code) { return code == SUCCESS ? "no error" : "not supported by the emulated card"; }

const char *ncclGetLastError(void *communicator)
{
    (void)communicator;
    return "";
}
