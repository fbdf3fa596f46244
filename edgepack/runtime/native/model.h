/* A model that ONNX Runtime has opened on the CPU, and the one call that runs it.
 *
 * Each function here ends the process with one line on stderr when the runtime refuses.
 */
#ifndef EDGEPACK_MODEL_H
#define EDGEPACK_MODEL_H

#include "ort.h"
#include "wire.h"

/* What one process needs once. */
typedef struct {
    const OrtApi *api;
    OrtEnv *env;
    OrtMemoryInfo *memory;
} Runtime;

/* How a session is opened. */
typedef struct {
    const char *path;
    int threads, level;
    size_t entry_count;
    const char **entries;   /* key, value, key, value ... */
} Opening;

typedef struct {
    const Runtime *rt;
    const char *path;
    OrtSession *session;
    size_t output_count;
    char **output_names;
} Model;

/* The inputs of one run; the values point into the samples or are a carried output. */
typedef struct {
    size_t count;
    const char **names;
    OrtValue **values;
} Inputs;

const char *runtime_version(void);
Runtime start_runtime(void);
void check(const Runtime *rt, OrtStatus *status, const char *what);

Model open_model(const Runtime *rt, const Opening *opening);
void close_model(Model *model);

/* Read the inputs of one record, leaving room for the state that it may lack. */
Inputs read_inputs(const Runtime *rt, Reader *in, size_t spare);
void release_inputs(const Runtime *rt, Inputs *inputs);

/* The one call that is counted and timed. */
void run_model(const Model *model, const Inputs *inputs, OrtValue **outputs);
void release_outputs(const Model *model, OrtValue **outputs);

#endif
