/* libnvJitLink: refused but for its version. bitsandbytes names it beside cuSPARSE, which would bring it, and calls nothing of it.
 * Source of values and signatures: nvJitLink.h of CUDA 12.9.
 */
#include "core.h"

int nvJitLinkVersion(unsigned *major, unsigned *minor)
{
    *major = VG_CUDA_RELEASE / 1000;
    *minor = VG_CUDA_RELEASE / 10 % 100;
    return 0; /* NVJITLINK_SUCCESS */
}
