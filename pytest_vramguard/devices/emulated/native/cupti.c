/* libcupti: the profiler's subscriptions are accepted, and there is nothing to report: no kernel runs, so no activity is recorded.
 *
 * torch.profiler therefore works with its records of the host and of PyTorch's allocator, and shows no time on the card.
 * Counters of the hardware, ranges and sampling are refused.
 * Source of values and signatures: CUPTI 13.0 documentation, "Activity API" and "Callback API".
 */
#include "core.h"

typedef int status; /* CUptiResult */
#define SUCCESS 0
#define INVALID_PARAMETER 1
#define MAX_LIMIT_REACHED 12 /* what CUPTI says when no record is left */
#define API_VERSION (VG_CUDA_RELEASE >= 13000 ? 130001 : 27) /* CUPTI_API_VERSION of CUDA 13.0 and 12.9 */

status cuptiGetVersion(uint32_t *version)
{
    *version = API_VERSION;
    return SUCCESS;
}

status cuptiGetResultString(status code, const char **text)
{
    *text = code == SUCCESS ? "CUPTI_SUCCESS" : "CUPTI_ERROR_NOT_SUPPORTED";
    return SUCCESS;
}

status cuptiGetTimestamp(uint64_t *timestamp_ns)
{
    *timestamp_ns = vg_clock_ns();
    return SUCCESS;
}

status cuptiSubscribe(void **subscriber, void *callback, void *user_data)
{
    static int only;
    (void)callback, (void)user_data;
    *subscriber = &only;
    return SUCCESS;
}

status cuptiUnsubscribe(void *subscriber) { return subscriber ? SUCCESS : INVALID_PARAMETER; }

status cuptiEnableCallback(uint32_t enable, void *subscriber, int domain, uint32_t callback)
{
    (void)enable, (void)domain, (void)callback;
    return subscriber ? SUCCESS : INVALID_PARAMETER;
}

status cuptiEnableDomain(uint32_t enable, void *subscriber, int domain)
{
    (void)enable, (void)domain;
    return subscriber ? SUCCESS : INVALID_PARAMETER;
}

status cuptiGetCallbackName(int domain, uint32_t callback, const char **text)
{
    (void)domain, (void)callback;
    *text = "unnamed";
    return SUCCESS;
}

status cuptiActivityRegisterCallbacks(void *buffer_requested, void *buffer_completed)
{
    return buffer_requested && buffer_completed ? SUCCESS : INVALID_PARAMETER;
}

status cuptiActivityRegisterTimestampCallback(void *timestamp) { return timestamp ? SUCCESS : INVALID_PARAMETER; }

/* Which activities are recorded makes no difference: none occurs. */
status cuptiActivityEnable(int kind) { return (void)kind, SUCCESS; }
status cuptiActivityDisable(int kind) { return (void)kind, SUCCESS; }
status cuptiActivityEnableDriverApi(uint32_t callback, uint8_t enable) { return (void)callback, (void)enable, SUCCESS; }
status cuptiActivityEnableRuntimeApi(uint32_t callback, uint8_t enable) { return (void)callback, (void)enable, SUCCESS; }
#if VG_CUDA_RELEASE >= 13000
status cuptiActivityEnableCudaEventDeviceTimestamps(uint8_t enable) { return (void)enable, SUCCESS; }
#endif
status cuptiActivitySetAttribute(int attribute, size_t *size_bytes, void *value)
{
    (void)attribute;
    return size_bytes && value ? SUCCESS : INVALID_PARAMETER;
}

status cuptiActivityFlushAll(uint32_t flag) { return (void)flag, SUCCESS; }

status cuptiActivityGetNextRecord(uint8_t *buffer, size_t size_bytes, void **record)
{
    (void)buffer, (void)size_bytes, (void)record;
    return MAX_LIMIT_REACHED;
}

status cuptiActivityGetNumDroppedRecords(void *card_context, uint32_t stream, size_t *dropped)
{
    (void)card_context, (void)stream;
    *dropped = 0;
    return SUCCESS;
}

status cuptiActivityPushExternalCorrelationId(int kind, uint64_t id) { return (void)kind, (void)id, SUCCESS; }

status cuptiActivityPopExternalCorrelationId(int kind, uint64_t *last)
{
    (void)kind;
    if (last)
        *last = 0;
    return SUCCESS;
}

status cuptiFinalize(void) { return SUCCESS; }
