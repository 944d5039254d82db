/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine: the two ways to give connections to threads; a model is a row of presets.def over one.
 *
 * Owner    The thread that created the runtime, except stop.
 */
#ifndef PC_MODELS_ENGINE_H
#define PC_MODELS_ENGINE_H

#include "runtime/runtime.h"
#include "runtime/topology.h"

enum pc_preset_cores { PC_CORES_NONE, PC_CORES_ONE, PC_CORES_ALL };
enum pc_preset_workers { PC_WORKERS_NEVER, PC_WORKERS_ALL };

struct pc_preset {
    const char *name;
    const struct pc_engine *engine;
    enum pc_preset_cores cores;
    enum pc_preset_workers workers;
    const char *help;
};

struct pc_engine {
    const char *name;
    /* Lay out lanes and memory; no thread yet.  Core: boot. */
    int (*create)(struct pc_runtime *runtime);
    /* Start the threads, be the first of them, look after signals and the deadline of the drain;
     * return when all have ended, with the first trouble one of them had. May block. */
    int (*run)(struct pc_runtime *runtime);
    /* Everybody is to look at runtime.stopping and runtime.cutting.  Core: any, signal-safe. */
    void (*stop)(struct pc_runtime *runtime);
    /* NULL engine state is fine.  Core: boot. */
    void (*destroy)(struct pc_runtime *runtime);
};

extern const struct pc_engine pc_engine_loops;
extern const struct pc_engine pc_engine_threads;

/* Row `index` of presets.def; NULL past the last. */
const struct pc_preset *pc_preset_row(unsigned index);

/* End the drain: what is still open is closed now.  Core: any, signal-safe. */
void pc_runtime_cut(struct pc_runtime *runtime);

#endif
