/* Run an ONNX model on the samples of one file and write the outputs to another.
 *
 *     runner [--repeat N] [--carry OUTPUT INPUT]... MODEL SAMPLES OUTPUTS
 *
 * SAMPLES and OUTPUTS are wire files (wire.h), one record per sample. With --carry, a record that
 * lacks INPUT gets what OUTPUT was for the record before; one that holds it starts a sequence.
 * With --repeat, every record runs N times and its last outputs are written. One thread, the CPU
 * provider, all graph optimizations. A failure is one line on stderr, and the exit code tells
 * whose it was: 2 the command line, 3 the model or a sample it does not take, 4 the files.
 *
 * Built with -DREGION_MARKERS, each run lies between two system calls that the counting plugin
 * for qemu-user (plugin.c) understands.
 *
 * The process ends after one job: what lives as long as it does is left to the kernel.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ort.h"
#include "wire.h"

#ifdef REGION_MARKERS
#include <unistd.h>
enum { MARKER = 7777, REGION_BEGIN = 1, REGION_END = 2 };   /* no kernel has this call */
#define MARK(what) ((void)syscall(MARKER, what))
#else
#define MARK(what) ((void)0)
#endif

typedef struct {
    const char *output, *input;
    size_t index;      /* of the output */
    OrtValue *value;   /* from the record before; NULL before the first */
} Carry;

typedef struct {
    unsigned long repeat;
    size_t carry_count;
    Carry *carries;
    const char *model, *samples, *outputs;
} Job;

typedef struct {
    const OrtApi *api;
    OrtSession *session;
    OrtMemoryInfo *memory;
    size_t output_count;
    char **output_names;
    const char *model;
} Runtime;

/* The inputs of one run; the values point into the samples or are a carried output. */
typedef struct {
    size_t count;
    const char **names;
    OrtValue **values;
} Inputs;

static _Noreturn void usage(void)
{
    fail(BAD_USAGE,
         "usage: runner [--repeat N] [--carry OUTPUT INPUT]... MODEL SAMPLES OUTPUTS");
}

static Job parse(int argc, char **argv)
{
    Job job = {.repeat = 1, .carries = allocate((size_t)argc, sizeof(Carry))};
    char **at = argv + 1, **end = argv + argc;

    for (;;) {
        if (end - at > 2 && strcmp(*at, "--repeat") == 0) {
            job.repeat = strtoul(at[1], NULL, 10);
            at += 2;
        } else if (end - at > 3 && strcmp(*at, "--carry") == 0) {
            job.carries[job.carry_count++] = (Carry){.output = at[1], .input = at[2]};
            at += 3;
        } else {
            break;
        }
    }
    if (end - at != 3 || job.repeat == 0)
        usage();
    job.model = at[0];
    job.samples = at[1];
    job.outputs = at[2];
    return job;
}

static void check(const Runtime *rt, OrtStatus *status, const char *what)
{
    if (status)
        fail(BAD_MODEL, "%s: %s", what, rt->api->GetErrorMessage(status));
}

static void name_outputs(Runtime *rt)
{
    const OrtApi *api = rt->api;
    OrtAllocator *allocator;

    check(rt, api->GetAllocatorWithDefaultOptions(&allocator), rt->model);
    check(rt, api->SessionGetOutputCount(rt->session, &rt->output_count), rt->model);
    rt->output_names = allocate(rt->output_count, sizeof *rt->output_names);
    for (size_t k = 0; k < rt->output_count; k++)
        check(rt, api->SessionGetOutputName(rt->session, k, allocator, &rt->output_names[k]),
              rt->model);
}

static Runtime open_model(const char *path)
{
    const OrtApiBase *base = OrtGetApiBase();
    Runtime rt = {.api = base->GetApi(ORT_API_VERSION), .model = path};
    const OrtApi *api = rt.api;
    OrtEnv *env;
    OrtSessionOptions *options;

    if (!api)
        fail(BAD_FILES, "ONNX Runtime %s lacks version %d of its C API", base->GetVersionString(),
             ORT_API_VERSION);
    check(&rt, api->CreateEnv(ORT_LOG_FATAL, "edgepack", &env), "environment");
    check(&rt, api->CreateSessionOptions(&options), "options");
    check(&rt, api->SetIntraOpNumThreads(options, 1), "options");
    check(&rt, api->SetSessionGraphOptimizationLevel(options, ORT_OPTIMIZE_ALL), "options");
    check(&rt, api->CreateSession(env, path, options, &rt.session), path);
    check(&rt, api->CreateCpuMemoryInfo(ORT_DEVICE_ALLOCATOR, ORT_MEMORY_DEFAULT, &rt.memory),
          path);
    name_outputs(&rt);
    return rt;
}

static void find_carried_outputs(const Runtime *rt, Job *job)
{
    for (Carry *carry = job->carries; carry < job->carries + job->carry_count; carry++) {
        while (carry->index < rt->output_count
               && strcmp(rt->output_names[carry->index], carry->output) != 0)
            carry->index++;
        if (carry->index == rt->output_count)
            fail(BAD_MODEL, "%s has no output '%s' to carry", rt->model, carry->output);
    }
}

/* Read the inputs of one record, leaving room for the state that it may lack. */
static Inputs read_inputs(const Runtime *rt, Reader *in, size_t spare)
{
    uint32_t tensors = take_record(in);
    Inputs inputs = {.names = allocate(tensors + spare, sizeof(char *)),
                     .values = allocate(tensors + spare, sizeof(OrtValue *))};

    for (; inputs.count < tensors; inputs.count++) {
        Tensor tensor = take_tensor(in);
        OrtStatus *status = rt->api->CreateTensorWithDataAsOrtValue(
            rt->memory, tensor.data, tensor.bytes, tensor.dims, tensor.rank, (int)tensor.type,
            &inputs.values[inputs.count]);
        check(rt, status, tensor.name);
        inputs.names[inputs.count] = tensor.name;
    }
    return inputs;
}

static void release_inputs(const Runtime *rt, Inputs *inputs)
{
    for (size_t i = 0; i < inputs->count; i++)
        rt->api->ReleaseValue(inputs->values[i]);
    free(inputs->names);
    free(inputs->values);
}

static bool holds(const Inputs *inputs, const char *name)
{
    for (size_t i = 0; i < inputs->count; i++)
        if (strcmp(inputs->names[i], name) == 0)
            return true;
    return false;
}

/* Move the state of the record before into the inputs, where this record lacks it. */
static void feed_state(const Runtime *rt, Job *job, Inputs *inputs)
{
    for (Carry *carry = job->carries; carry < job->carries + job->carry_count; carry++) {
        if (holds(inputs, carry->input)) {
            rt->api->ReleaseValue(carry->value);   /* a sequence begins; NULL is allowed */
        } else {
            if (!carry->value)
                fail(BAD_FILES, "%s: the first record lacks '%s'", job->samples, carry->input);
            inputs->names[inputs->count] = carry->input;
            inputs->values[inputs->count++] = carry->value;
        }
        carry->value = NULL;
    }
}

/* The one call that is measured; clocks belong here, next to the markers. */
static void run(const Runtime *rt, const Inputs *inputs, OrtValue **outputs)
{
    OrtStatus *status;

    MARK(REGION_BEGIN);
    status = rt->api->Run(rt->session, NULL, inputs->names, (const OrtValue *const *)inputs->values,
                          inputs->count, (const char *const *)rt->output_names, rt->output_count,
                          outputs);
    MARK(REGION_END);
    check(rt, status, rt->model);
}

static void release_outputs(const Runtime *rt, OrtValue **outputs)
{
    for (size_t k = 0; k < rt->output_count; k++) {
        rt->api->ReleaseValue(outputs[k]);
        outputs[k] = NULL;
    }
}

static void write_output(const Runtime *rt, Writer *out, const char *name, OrtValue *value)
{
    const OrtApi *api = rt->api;
    Tensor tensor = {.name = name};
    OrtShape *shape;
    int64_t *dims;
    int type, is_tensor = 0;

    if (value)   /* NULL is an optional output that is absent */
        check(rt, api->IsTensor(value, &is_tensor), name);
    if (!is_tensor)
        fail(BAD_MODEL, "output '%s' is not a tensor", name);
    check(rt, api->GetTensorTypeAndShape(value, &shape), name);
    check(rt, api->GetTensorElementType(shape, &type), name);
    check(rt, api->GetDimensionsCount(shape, &tensor.rank), name);
    dims = allocate(tensor.rank, sizeof *dims);
    check(rt, api->GetDimensions(shape, dims, tensor.rank), name);
    check(rt, api->GetTensorMutableData(value, &tensor.data), name);
    tensor.type = (uint32_t)type;
    tensor.dims = dims;
    put_tensor(out, tensor);
    free(dims);
    api->ReleaseShape(shape);
}

/* Write the outputs of one record and keep those that the next one may want. */
static void deliver(const Runtime *rt, Job *job, Writer *out, OrtValue **outputs)
{
    put_record(out, (uint32_t)rt->output_count);
    for (size_t k = 0; k < rt->output_count; k++)
        write_output(rt, out, rt->output_names[k], outputs[k]);
    for (Carry *carry = job->carries; carry < job->carries + job->carry_count; carry++) {
        carry->value = outputs[carry->index];
        outputs[carry->index] = NULL;
    }
    release_outputs(rt, outputs);
}

int main(int argc, char **argv)
{
    Job job = parse(argc, argv);
    uint32_t records;
    Reader in = open_reader(job.samples, &records);
    Runtime rt = open_model(job.model);
    Writer out = open_writer(job.outputs, records);
    OrtValue **outputs = allocate(rt.output_count, sizeof(OrtValue *));

    find_carried_outputs(&rt, &job);
    for (uint32_t record = 0; record < records; record++) {
        Inputs inputs = read_inputs(&rt, &in, job.carry_count);
        feed_state(&rt, &job, &inputs);
        for (unsigned long i = 0; i < job.repeat; i++) {
            release_outputs(&rt, outputs);
            run(&rt, &inputs, outputs);
        }
        deliver(&rt, &job, &out, outputs);
        release_inputs(&rt, &inputs);
    }
    close_reader(&in);
    close_writer(&out);
    return 0;
}
