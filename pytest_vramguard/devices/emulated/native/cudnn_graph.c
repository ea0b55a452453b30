/* libcudnn: the graph interface ("backend"), through which PyTorch runs convolutions and attention.
 *
 * A descriptor is a bag of attributes. It keeps those that it refers to alive, because callers destroy an operation or a tensor
 * as soon as the graph that holds it is finalised. Nothing is computed: a plan that is executed is counted.
 *
 * Answers of the library's own
 *   - Heuristics propose the Tensor Core engine, where the card's Tensor Cores take the type, and then the plain one; the
 *     fallback list is the plain one.
 *   - A plan's workspace is the rule's for a convolution (cudnn_workspace.c). Other graphs have none of their own: what attention
 *     keeps between its kernels is asked for by the cuDNN frontend, which is compiled into the caller.
 *
 * Source of numbers: cuDNN 9.24 API reference, cudnnBackendDescriptorType_t, cudnnBackendAttributeName_t and
 * cudnnBackendAttributeType_t.
 */
#include "cudnn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum {
    ENGINE = 2,
    CONVOLUTION_FORWARD = 10,
    CONVOLUTION_BACKWARD_FILTER = 11,
    CONVOLUTION_BACKWARD_DATA = 12,
} kind; /* cudnnBackendDescriptorType_t */

typedef enum {
    HEURISTIC_MODE = 200,
    HEURISTIC_GRAPH = 201,
    HEURISTIC_RESULTS = 202,
    CONFIG_ENGINE = 300,
    CONFIG_KNOB_CHOICES = 302,
    CONFIG_WORKSPACE = 303,
    CONFIG_SHARED_MEMORY = 304,
    PLAN_CONFIG = 401,
    PLAN_WORKSPACE = 402,
    FORWARD_FILTER = 703,
    FORWARD_INPUT = 704,
    FORWARD_OUTPUT = 705,
    BACKWARD_DATA_FILTER = 709,
    BACKWARD_DATA_INPUT = 710,
    BACKWARD_DATA_OUTPUT = 711,
    BACKWARD_FILTER_FILTER = 715,
    BACKWARD_FILTER_INPUT = 716,
    BACKWARD_FILTER_OUTPUT = 717,
    GRAPH_OPERATIONS = 801,
    GRAPH_ENGINES = 802,
    TENSOR_TYPE = 901,
    TENSOR_SIZES = 902,
    TENSOR_STRIDES = 903,
    ENGINE_GRAPH = 1300,
    ENGINE_INDEX = 1301,
    ENGINE_KNOBS = 1302,
    ENGINE_NUMERICAL_NOTES = 1303,
    ENGINE_BEHAVIOR_NOTES = 1305,
} name; /* cudnnBackendAttributeName_t */

#define HEURISTIC_FALLBACK 2 /* CUDNN_HEUR_MODE_FALLBACK */
#define NOTE_TENSOR_CORE 0   /* CUDNN_NUMERICAL_NOTE_TENSOR_CORE */
#define MAX_ENGINES 2

typedef enum { HANDLE = 0, BOOLEAN = 2, INT64 = 3, DOUBLE = 5, POINTER = 6, DESCRIPTOR = 15, CHAR = 24, FRACTION = 26 } type;

typedef struct attribute {
    struct attribute *next;
    int name, type;
    int64_t count;
    unsigned char bytes[];
} attribute;

typedef struct descriptor {
    int kind;
    int references; /* the caller's, until it destroys the descriptor, and one for each attribute that refers to it */
    attribute *attributes;
} descriptor;

/* Bytes of an element of a cudnnBackendAttributeType_t; enumerations have 4. */
static size_t type_bytes(int type)
{
    switch (type) {
    case BOOLEAN:
    case CHAR:
        return 1;
    case HANDLE:
    case INT64:
    case DOUBLE:
    case POINTER:
    case DESCRIPTOR:
        return 8;
    case FRACTION:
        return 16;
    default:
        return 4;
    }
}

static void retain(descriptor *kept)
{
    if (kept)
        __atomic_add_fetch(&kept->references, 1, __ATOMIC_RELAXED);
}

static void let_go(descriptor *gone);

static void destroy_attribute(attribute *gone)
{
    for (int64_t index = 0; gone->type == DESCRIPTOR && index < gone->count; index++)
        let_go(((descriptor **)gone->bytes)[index]);
    free(gone);
}

static void clear(descriptor *of)
{
    while (of->attributes) {
        attribute *gone = of->attributes;
        of->attributes = gone->next;
        destroy_attribute(gone);
    }
}

static void let_go(descriptor *gone)
{
    if (gone == NULL || __atomic_sub_fetch(&gone->references, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    clear(gone);
    free(gone);
}

static attribute *find(const descriptor *of, int name)
{
    for (attribute *found = of ? of->attributes : NULL; found; found = found->next)
        if (found->name == name)
            return found;
    return NULL;
}

static status set(descriptor *of, int name, int type, int64_t count, const void *elements)
{
    size_t bytes = (size_t)count * type_bytes(type);
    attribute *fresh = malloc(sizeof *fresh + bytes);
    if (fresh == NULL)
        return ALLOC_FAILED;
    *fresh = (attribute){.name = name, .type = type, .count = count};
    if (bytes)
        memcpy(fresh->bytes, elements, bytes);
    for (int64_t index = 0; type == DESCRIPTOR && index < count; index++)
        retain(((descriptor **)fresh->bytes)[index]);
    attribute **place = &of->attributes;
    while (*place && (*place)->name != name)
        place = &(*place)->next;
    if (*place) {
        fresh->next = (*place)->next;
        destroy_attribute(*place);
    }
    *place = fresh;
    return SUCCESS;
}

/* The descriptor that an attribute refers to first, or NULL. */
static descriptor *referred(const descriptor *of, int name)
{
    attribute *found = find(of, name);
    return found && found->type == DESCRIPTOR && found->count > 0 ? *(descriptor **)found->bytes : NULL;
}

static int64_t whole(const descriptor *of, int name)
{
    attribute *found = find(of, name);
    if (found == NULL || found->count < 1)
        return 0;
    return type_bytes(found->type) == 8 ? *(int64_t *)found->bytes : *(int *)found->bytes;
}

status cudnnBackendCreateDescriptor(int kind, descriptor **created)
{
    *created = calloc(1, sizeof **created);
    if (*created == NULL)
        return ALLOC_FAILED;
    **created = (descriptor){.kind = kind, .references = 1};
    return SUCCESS;
}

status cudnnBackendDestroyDescriptor(descriptor *gone)
{
    let_go(gone);
    return SUCCESS;
}

status cudnnBackendSetAttribute(descriptor *of, int name, int type, int64_t count, const void *elements)
{
    if (of == NULL || count < 0 || (count && elements == NULL))
        return BAD_PARAM;
    return set(of, name, type, count, elements);
}

status cudnnBackendFinalize(descriptor *finished) { return finished ? SUCCESS : BAD_PARAM; }

/* The operation of a graph of one convolution, with the attributes that are its operands and its result; NULL for another graph. */
static const descriptor *convolution(const descriptor *graph, const int **tensors)
{
    static const int forward[] = {FORWARD_INPUT, FORWARD_FILTER, FORWARD_OUTPUT};
    static const int data[] = {BACKWARD_DATA_OUTPUT, BACKWARD_DATA_FILTER, BACKWARD_DATA_INPUT};
    static const int filter[] = {BACKWARD_FILTER_INPUT, BACKWARD_FILTER_OUTPUT, BACKWARD_FILTER_FILTER};
    attribute *operations = find(graph, GRAPH_OPERATIONS);
    for (int64_t index = 0; operations && index < operations->count; index++) {
        const descriptor *operation = ((descriptor **)operations->bytes)[index];
        *tensors = operation->kind == CONVOLUTION_FORWARD           ? forward
                   : operation->kind == CONVOLUTION_BACKWARD_DATA   ? data
                   : operation->kind == CONVOLUTION_BACKWARD_FILTER ? filter
                                                                    : NULL;
        if (*tensors)
            return operation;
    }
    return NULL;
}

static tensor tensor_of(const descriptor *described)
{
    tensor found = {.type = (int)whole(described, TENSOR_TYPE)};
    attribute *sizes = find(described, TENSOR_SIZES), *strides = find(described, TENSOR_STRIDES);
    for (int axis = 0; sizes && strides && axis < sizes->count && axis < strides->count && axis < MAX_DIMENSIONS; axis++) {
        found.sizes[axis] = ((int64_t *)sizes->bytes)[axis];
        found.strides[axis] = ((int64_t *)strides->bytes)[axis];
        found.dimensions = axis + 1;
    }
    return found;
}

static int64_t workspace_bytes(const descriptor *engine_config)
{
    const descriptor *chosen = referred(engine_config, CONFIG_ENGINE);
    const int *names;
    const descriptor *operation = convolution(referred(chosen, ENGINE_GRAPH), &names);
    if (operation == NULL)
        return 0;
    tensor parts[3];
    for (int part = 0; part < 3; part++)
        parts[part] = tensor_of(referred(operation, names[part]));
    const tensor *const all[3] = {&parts[0], &parts[1], &parts[2]};
    return (int64_t)vg_cudnn_convolution_workspace((engine)whole(chosen, ENGINE_INDEX), all);
}

/* Engines for a graph, the preferred one first; returns their number. */
static int engines(const descriptor *graph, bool fallback, int64_t found[MAX_ENGINES])
{
    const int *names;
    const descriptor *operation = convolution(graph, &names);
    int count = 0;
    if (operation && !fallback && vg_cudnn_tensor_cores_take(tensor_of(referred(operation, names[0])).type))
        found[count++] = TENSOR_CORE_ENGINE;
    found[count++] = PLAIN_ENGINE;
    return count;
}

/* Makes `config`, which the caller created, the configuration of an engine for `graph`. */
static status configure(descriptor *config, descriptor *graph, int64_t index)
{
    descriptor *chosen;
    status result = cudnnBackendCreateDescriptor(ENGINE, &chosen);
    if (result == SUCCESS)
        result = set(chosen, ENGINE_GRAPH, DESCRIPTOR, 1, &graph) || set(chosen, ENGINE_INDEX, INT64, 1, &index) ||
                 set(config, CONFIG_ENGINE, DESCRIPTOR, 1, &chosen);
    let_go(chosen);
    return result == SUCCESS ? SUCCESS : ALLOC_FAILED;
}

static status answer_results(const descriptor *heuristic, int64_t room, int64_t *count, descriptor *configs[])
{
    descriptor *graph = referred(heuristic, HEURISTIC_GRAPH);
    int64_t found[MAX_ENGINES];
    *count = engines(graph, whole(heuristic, HEURISTIC_MODE) == HEURISTIC_FALLBACK, found);
    status result = SUCCESS;
    for (int index = 0; result == SUCCESS && configs && index < *count && index < room; index++)
        result = configure(configs[index], graph, found[index]);
    if (configs && room < *count)
        *count = room;
    return result;
}

/* Makes the caller's descriptors equal to those that an attribute refers to. */
static status answer_descriptors(const attribute *asked, int64_t room, descriptor *targets[])
{
    status result = SUCCESS;
    for (int64_t index = 0; targets && index < asked->count && index < room; index++) {
        const descriptor *from = ((descriptor *const *)asked->bytes)[index];
        clear(targets[index]);
        for (const attribute *each = from->attributes; each && result == SUCCESS; each = each->next)
            result = set(targets[index], each->name, each->type, each->count, each->bytes);
    }
    return result;
}

static status answer_number(int64_t number, size_t bytes, int64_t room, int64_t *count, void *target)
{
    *count = 1;
    if (target && room > 0)
        memcpy(target, &number, bytes); /* little-endian, as every machine with this library */
    return SUCCESS;
}

status cudnnBackendGetAttribute(descriptor *of, int name, int type, int64_t room, int64_t *count, void *target)
{
    int64_t unwanted;
    count = count ? count : &unwanted;
    *count = 0;
    if (of == NULL)
        return BAD_PARAM;
    switch (name) {
    case HEURISTIC_RESULTS:
        return answer_results(of, room, count, target);
    case PLAN_WORKSPACE:
        return answer_number(workspace_bytes(referred(of, PLAN_CONFIG)), 8, room, count, target);
    case CONFIG_WORKSPACE:
        return answer_number(workspace_bytes(of), 8, room, count, target);
    case GRAPH_ENGINES:
        return answer_number(MAX_ENGINES, 8, room, count, target);
    case CONFIG_SHARED_MEMORY: /* no kernel runs, so none is too large */
        return answer_number(0, 4, room, count, target);
    case ENGINE_NUMERICAL_NOTES:
        return whole(of, ENGINE_INDEX) == TENSOR_CORE_ENGINE ? answer_number(NOTE_TENSOR_CORE, 4, room, count, target) : SUCCESS;
    case ENGINE_BEHAVIOR_NOTES:
    case ENGINE_KNOBS:
    case CONFIG_KNOB_CHOICES:
        return SUCCESS; /* none */
    default:
        break;
    }
    attribute *asked = find(of, name);
    if (asked == NULL || asked->type != type) {
        char text[64];
        snprintf(text, sizeof text, "cudnnBackendGetAttribute(%d)", name);
        return vg_refuse(text, NOT_SUPPORTED);
    }
    *count = asked->count;
    if (type == DESCRIPTOR)
        return answer_descriptors(asked, room, target);
    if (target)
        memcpy(target, asked->bytes, (size_t)(asked->count < room ? asked->count : room) * type_bytes(type));
    return SUCCESS;
}

status cudnnBackendExecute(void *handle, descriptor *plan, descriptor *variant_pack)
{
    if (handle == NULL || plan == NULL || variant_pack == NULL)
        return BAD_PARAM;
    vg_count(VG_COMPUTE_CALLS, 1);
    return SUCCESS;
}
