/* Work that a stream is asked for, and graphs: work that was captured and can be done again.
 *
 * A graph does its work in the order in which it was captured, which is one of the orders that its dependencies allow.
 */
#include "queue.h"

#include <stdlib.h>
#include <string.h>

struct vg_graph {
    vg_node **nodes;
    size_t count, capacity;
};

static handle_set graphs, nodes;

static vg_status perform(const vg_work *work)
{
    switch (work->kind) {
    case VG_KERNEL: vg_count(VG_LAUNCHES, 1); return VG_OK;
    case VG_COMPUTE: vg_count(VG_COMPUTE_CALLS, 1); return VG_OK;
    case VG_COPY: return vg_copy_rows(work->to, work->to_pitch, work->from, work->from_pitch, work->row_bytes, work->rows);
    case VG_FILL: return vg_fill(work->to, &work->pattern, work->pattern_bytes, work->size_bytes);
    case VG_HOST_CALL: work->function(work->argument); return VG_OK;
    }
    return VG_OK;
}

/* ---- the lock is held ------------------------------------------------------------------------------------------------------ */

vg_graph *new_graph(void) { return calloc(1, sizeof(vg_graph)); }

void free_graph(vg_graph *graph)
{
    for (size_t i = 0; graph != NULL && i < graph->count; i++) {
        remove_from(&nodes, graph->nodes[i]);
        free(graph->nodes[i]);
    }
    if (graph != NULL)
        free(graph->nodes);
    free(graph);
}

static bool make_room(vg_graph *graph)
{
    if (graph->count < graph->capacity)
        return true;
    size_t capacity = graph->capacity ? graph->capacity * 2 : 16;
    vg_node **larger = realloc(graph->nodes, capacity * sizeof *larger);
    if (larger == NULL)
        return false;
    graph->nodes = larger;
    graph->capacity = capacity;
    return true;
}

vg_node *append(vg_graph *graph, const vg_work *work, vg_node *const dependencies[LANES])
{
    vg_node *made = make_room(graph) ? calloc(1, sizeof *made) : NULL;
    if (made == NULL || !add(&nodes, made)) {
        free(made);
        return NULL;
    }
    made->work = *work;
    for (size_t i = 0; dependencies != NULL && i < LANES; i++)
        if (dependencies[i] != NULL)
            made->dependencies[made->dependency_count++] = dependencies[i];
    graph->nodes[graph->count++] = made;
    return made;
}

bool publish(vg_graph *graph) { return add(&graphs, graph); }

/* A copy of the work, for the graph may be destroyed the moment the lock is given back. */
static vg_graph *copy_of(const vg_graph *graph)
{
    vg_graph *copy = holds(&graphs, graph) ? new_graph() : NULL;
    for (size_t i = 0; copy != NULL && i < graph->count; i++)
        if (append(copy, &graph->nodes[i]->work, NULL) == NULL) {
            free_graph(copy);
            return NULL;
        }
    return copy;
}

/* ---- graphs ---------------------------------------------------------------------------------------------------------------- */

vg_status vg_submit(const void *stream, const vg_work *work)
{
    bool captured;
    vg_status status = capture_work(stream, work, &captured);
    return captured || status != VG_OK ? status : perform(work);
}

bool vg_graph_nodes(const vg_graph *graph, vg_node ***found, size_t *count)
{
    pthread_mutex_lock(&queue_lock);
    bool known = holds(&graphs, graph);
    if (known) {
        *found = graph->nodes;
        *count = graph->count;
    }
    pthread_mutex_unlock(&queue_lock);
    return known;
}

bool vg_node_dependencies(vg_node *node, vg_node ***found, size_t *count)
{
    pthread_mutex_lock(&queue_lock);
    bool known = holds(&nodes, node);
    if (known) {
        *found = node->dependencies;
        *count = node->dependency_count;
    }
    pthread_mutex_unlock(&queue_lock);
    return known;
}

bool vg_graph_destroy(vg_graph *graph)
{
    pthread_mutex_lock(&queue_lock);
    bool known = remove_from(&graphs, graph);
    if (known)
        free_graph(graph);
    pthread_mutex_unlock(&queue_lock);
    return known;
}

vg_graph *vg_graph_instantiate(const vg_graph *graph)
{
    pthread_mutex_lock(&queue_lock);
    vg_graph *copy = copy_of(graph);
    if (copy != NULL && !publish(copy)) {
        free_graph(copy);
        copy = NULL;
    }
    pthread_mutex_unlock(&queue_lock);
    return copy;
}

vg_status vg_graph_launch(const vg_graph *graph, const void *stream)
{
    pthread_mutex_lock(&queue_lock);
    vg_graph *copy = copy_of(graph);
    pthread_mutex_unlock(&queue_lock);
    if (copy == NULL)
        return VG_BAD_ADDRESS;
    vg_status status = VG_OK;
    for (size_t i = 0; status == VG_OK && i < copy->count; i++)
        status = vg_submit(stream, &copy->nodes[i]->work);
    pthread_mutex_lock(&queue_lock);
    free_graph(copy);
    pthread_mutex_unlock(&queue_lock);
    return status;
}
