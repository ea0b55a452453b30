/* libcusparseLt: refused but for its names of errors. Its compressed matrices have a size that the card's generation decides and
 * NVIDIA keeps to itself.
 * Source of signatures: cuSPARSELt 0.8 documentation, "cuSPARSELt Functions".
 */
#include "core.h"

const char *cusparseLtGetErrorName(int code) { return code == 0 ? "CUSPARSE_STATUS_SUCCESS" : "CUSPARSE_STATUS_NOT_SUPPORTED"; }
const char *cusparseLtGetErrorString(int code) { return code == 0 ? "success" : "not supported by the emulated card"; }
