/* libnvidia-ml: what monitoring asks of the emulated cards; the numbers are those of the ledger.
 *
 * Sensors (temperature, power, clocks, utilisation) answer NVML_ERROR_NOT_SUPPORTED, which is NVML's own way to say that a card
 * has no such sensor; that is an answer, not a gap in the emulation, so it is not recorded as a refusal.
 * Source of structures and codes: NVML API reference guide (nvml.h), CUDA 13.0.
 */
#include "core.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef int result; /* nvmlReturn_t */
#define SUCCESS 0
#define INVALID_ARGUMENT 2
#define NOT_SUPPORTED 3
#define NOT_FOUND 6
#define INSUFFICIENT_SIZE 7

typedef void *device; /* nvmlDevice_t: index + 1 */

/* As the real library, this one sees every card, whatever CUDA_VISIBLE_DEVICES leaves to CUDA; PyTorch counts on that. */
static unsigned card_count(void) { return (unsigned)vg_the_card()->count; }

static int index_of(device own) { return (int)((uintptr_t)own - 1); }
static bool known(device own) { return (uintptr_t)own - 1 < card_count(); } /* NULL wraps around */

static result text(char *target, unsigned capacity, const char *value)
{
    if (strlen(value) >= capacity)
        return INSUFFICIENT_SIZE;
    memcpy(target, value, strlen(value) + 1);
    return SUCCESS;
}

/* ---- library and system --------------------------------------------------------------------------------------------------- */

result nvmlInit_v2(void) { return SUCCESS; }
result nvmlInit(void) { return SUCCESS; }
result nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    return SUCCESS;
}
result nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(result code)
{
    switch (code) {
    case SUCCESS: return "Success";
    case INVALID_ARGUMENT: return "Invalid Argument";
    case NOT_FOUND: return "Not Found";
    case INSUFFICIENT_SIZE: return "Insufficient Size";
    default: return "Not Supported";
    }
}

result nvmlSystemGetDriverVersion(char *version, unsigned capacity) { return text(version, capacity, vg_the_card()->driver_name); }
result nvmlSystemGetNVMLVersion(char *version, unsigned capacity) { return text(version, capacity, vg_the_card()->driver_name); }
result nvmlSystemGetCudaDriverVersion_v2(int *version)
{
    *version = vg_the_card()->driver_version;
    return SUCCESS;
}
result nvmlSystemGetCudaDriverVersion(int *version) { return nvmlSystemGetCudaDriverVersion_v2(version); }

/* ---- handles and identity ------------------------------------------------------------------------------------------------- */

result nvmlDeviceGetCount_v2(unsigned *count)
{
    *count = card_count();
    return SUCCESS;
}

result nvmlDeviceGetHandleByIndex_v2(unsigned index, device *found)
{
    *found = (device)((uintptr_t)index + 1);
    return known(*found) ? SUCCESS : INVALID_ARGUMENT;
}

static void bus_text(int index, char *target, size_t capacity) { snprintf(target, capacity, "00000000:%02X:00.0", index + 1); }

result nvmlDeviceGetHandleByUUID(const char *uuid, device *found)
{
    char own[VG_UUID_TEXT_BYTES];
    for (unsigned index = 0; index < card_count(); index++) {
        vg_card_uuid_text((int)index, own);
        if (strcmp(own, uuid) == 0)
            return nvmlDeviceGetHandleByIndex_v2(index, found);
    }
    return NOT_FOUND;
}

result nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, device *found)
{
    unsigned domain, bus;
    if (sscanf(bus_id, "%x:%x:", &domain, &bus) != 2 || bus < 1 || bus > card_count())
        return NOT_FOUND;
    return nvmlDeviceGetHandleByIndex_v2(bus - 1, found);
}

result nvmlDeviceGetName(device own, char *name, unsigned capacity)
{
    return known(own) ? text(name, capacity, vg_the_card()->name) : INVALID_ARGUMENT;
}

result nvmlDeviceGetUUID(device own, char *uuid, unsigned capacity)
{
    char value[VG_UUID_TEXT_BYTES];
    if (!known(own))
        return INVALID_ARGUMENT;
    vg_card_uuid_text(index_of(own), value);
    return text(uuid, capacity, value);
}

result nvmlDeviceGetIndex(device own, unsigned *index)
{
    *index = (unsigned)index_of(own);
    return known(own) ? SUCCESS : INVALID_ARGUMENT;
}

result nvmlDeviceGetCudaComputeCapability(device own, int *major, int *minor)
{
    *major = vg_the_card()->major;
    *minor = vg_the_card()->minor;
    return known(own) ? SUCCESS : INVALID_ARGUMENT;
}

typedef struct {
    char bus_id_legacy[16];
    unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
    char bus_id[32];
} pci; /* nvmlPciInfo_t */

result nvmlDeviceGetPciInfo_v3(device own, pci *info)
{
    if (!known(own))
        return INVALID_ARGUMENT;
    memset(info, 0, sizeof *info);
    info->bus = (unsigned)index_of(own) + 1;
    bus_text(index_of(own), info->bus_id, sizeof info->bus_id);
    memcpy(info->bus_id_legacy, info->bus_id + 4, 12);
    return SUCCESS;
}

/* ---- memory --------------------------------------------------------------------------------------------------------------- */

typedef struct {
    unsigned long long total, free, used;
} memory; /* nvmlMemory_t */

typedef struct {
    unsigned version;
    unsigned long long total, reserved, free, used;
} memory_v2; /* nvmlMemory_v2_t */

/* A card that this process may not see is empty: each process keeps books of its own. */
static memory memory_of(device own)
{
    int seen_as = vg_device_of(index_of(own));
    if (seen_as < 0)
        return (memory){vg_the_card()->total_bytes, vg_the_card()->total_bytes, 0};
    vg_usage usage = vg_usage_of(seen_as);
    unsigned long long used = usage.used_bytes + usage.managed_bytes;
    return (memory){usage.total_bytes, usage.total_bytes - used, used};
}

result nvmlDeviceGetMemoryInfo(device own, memory *info)
{
    if (!known(own))
        return INVALID_ARGUMENT;
    *info = memory_of(own);
    return SUCCESS;
}

result nvmlDeviceGetMemoryInfo_v2(device own, memory_v2 *info)
{
    if (!known(own))
        return INVALID_ARGUMENT;
    memory now = memory_of(own);
    *info = (memory_v2){info->version, now.total, 0, now.free, now.used};
    return SUCCESS;
}

typedef struct {
    unsigned pid;
    unsigned long long used_bytes;
    unsigned gpu_instance, compute_instance;
} process; /* nvmlProcessInfo_t */

/* This process is the only one on its emulated cards. */
result nvmlDeviceGetComputeRunningProcesses_v3(device own, unsigned *count, process *list)
{
    if (!known(own))
        return INVALID_ARGUMENT;
    unsigned room = *count;
    *count = vg_device_of(index_of(own)) >= 0;
    if (*count == 0)
        return SUCCESS;
    if (room < 1 || list == NULL)
        return INSUFFICIENT_SIZE;
    list[0] = (process){(unsigned)getpid(), memory_of(own).used, 0xFFFFFFFF, 0xFFFFFFFF};
    return SUCCESS;
}

result nvmlDeviceGetComputeRunningProcesses_v2(device own, unsigned *count, process *list)
{
    return nvmlDeviceGetComputeRunningProcesses_v3(own, count, list);
}

typedef struct {
    unsigned pid;
    unsigned long long used_bytes;
} process_v1; /* nvmlProcessInfo_v1_t: what the name without a suffix has always meant */

result nvmlDeviceGetComputeRunningProcesses(device own, unsigned *count, process_v1 *list)
{
    process full;
    result outcome = nvmlDeviceGetComputeRunningProcesses_v3(own, count, list != NULL ? &full : NULL);
    if (outcome == SUCCESS && *count == 1)
        list[0] = (process_v1){full.pid, full.used_bytes};
    return outcome;
}

result nvmlDeviceGetGraphicsRunningProcesses_v3(device own, unsigned *count, process *list)
{
    (void)list;
    *count = 0;
    return known(own) ? SUCCESS : INVALID_ARGUMENT;
}

/* ---- sensors and features that an emulated card does not have --------------------------------------------------------------- */

#define WITHOUT(name)                                                                                                            \
    result name(device own)                                                                                                      \
    {                                                                                                                            \
        return known(own) ? NOT_SUPPORTED : INVALID_ARGUMENT;                                                                    \
    }

WITHOUT(nvmlDeviceGetTemperature)
WITHOUT(nvmlDeviceGetTemperatureThreshold)
WITHOUT(nvmlDeviceGetPowerUsage)
WITHOUT(nvmlDeviceGetEnforcedPowerLimit)
WITHOUT(nvmlDeviceGetPowerManagementLimit)
WITHOUT(nvmlDeviceGetTotalEnergyConsumption)
WITHOUT(nvmlDeviceGetUtilizationRates)
WITHOUT(nvmlDeviceGetClockInfo)
WITHOUT(nvmlDeviceGetMaxClockInfo)
WITHOUT(nvmlDeviceGetFanSpeed)
WITHOUT(nvmlDeviceGetPerformanceState)
WITHOUT(nvmlDeviceGetCurrentClocksThrottleReasons)
WITHOUT(nvmlDeviceGetCurrentClocksEventReasons)
WITHOUT(nvmlDeviceGetEncoderUtilization)
WITHOUT(nvmlDeviceGetDecoderUtilization)
WITHOUT(nvmlDeviceGetPcieThroughput)
WITHOUT(nvmlDeviceGetMigMode)
WITHOUT(nvmlDeviceGetNvLinkState)
WITHOUT(nvmlDeviceGetGpuFabricInfoV)
WITHOUT(nvmlDeviceGetTotalEccErrors)
WITHOUT(nvmlDeviceGetCpuAffinity)
